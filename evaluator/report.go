package evaluator

import (
	"time"

	dg "driftgate"
)

// Report is one version on every suite. Ratios run 0 to 1, bounds are two-sided
// at 95% unless a field says that they are simultaneous.
type Report struct {
	Version    dg.ModelRef   `json:"version"`
	Model      string        `json:"model"`
	Interval   dg.Interval   `json:"interval"` // of the held-out suite
	At         time.Time     `json:"at"`       // when the report was made
	Classes    dg.Classes    `json:"classes"`
	Suites     []SuiteReport `json:"suites"`     // held-out, test, then the special ones
	Robustness []Curve       `json:"robustness"` // on the test suite; empty without one
	Speed      Speed         `json:"speed"`      // on the machine that made the report
	Size       Size          `json:"size"`
	Training   Training      `json:"training"`
	Notes      []string      `json:"notes"` // what a reader must know: a suite that could not be read, ...
}

// Suite names what a version was tried on.
type Suite struct {
	Name       string  `json:"name"` // "heldout", "test", or its name in gate.yml
	Kind       string  `json:"kind"` // KindHeldout, KindTest, KindSpecial
	Source     string  `json:"source,omitempty"`
	Digest     string  `json:"digest,omitempty"` // of what it holds: the same digest is the same images
	Samples    int     `json:"samples"`          // with an answer
	Unreadable int     `json:"unreadable"`       // without: broken or missing images
	Left       int     `json:"left"`             // left out: trained on, labels outside the class list, or beyond the most that is judged
	Weighted   bool    `json:"weighted"`         // samples count by the predictions they stand for
	Floor      float64 `json:"floor,omitempty"`  // accuracy that the gate demands here; 0: none
}

// The kinds of suite.
const (
	KindHeldout = "heldout" // labelled production samples that the version was not trained on
	KindTest    = "test"    // the base dataset's test split
	KindSpecial = "special" // any folder of class folders or bucket prefix
)

// SuiteReport is one version on one suite.
type SuiteReport struct {
	Suite
	Accuracy    Bounded       `json:"accuracy"`
	PerClass    []ClassReport `json:"per_class"`   // in the order of the classes, those without a sample too
	Confusion   [][]int       `json:"confusion"`   // counts of samples, truth x answer, in the order of the classes
	Calibration Calibration   `json:"calibration"` //
	Slices      []Slice       `json:"slices"`      // weakest first; those marked are worse than the rest, corrected for having looked at many
	Fault       string        `json:"fault,omitempty"`
}

// ClassReport is one class of a suite.
type ClassReport struct {
	Class     string  `json:"class"`
	Share     float64 `json:"share"`     // of the predictions that are of this class in truth
	Recall    Bounded `json:"recall"`    // of what is of the class, how much is found
	Precision Bounded `json:"precision"` // of what is called so, how much is
}

// Calibration is how far stated confidence lies from accuracy.
type Calibration struct {
	Error float64          `json:"error"` // expected calibration error over Bins, 0 to 1
	Bins  []CalibrationBin `json:"bins"`  // those with samples, ascending
}

// CalibrationBin is one point of the calibration curve.
type CalibrationBin struct {
	Lower      float64 `json:"lower"` // edges of the bin
	Upper      float64 `json:"upper"`
	Share      float64 `json:"share"`      // of the predictions that fall here
	Confidence float64 `json:"confidence"` // mean of those
	Accuracy   Bounded `json:"accuracy"`
}

// Curve is the accuracy under one knob of drift, turned up step by step.
type Curve struct {
	Knob   string  `json:"knob"`   // "rotation", "noise", "blur", "brightness"
	Unit   string  `json:"unit"`   // of Strength: "degrees", ...
	Points []Point `json:"points"` // the first is without drift
}

// Point is the accuracy at one strength.
type Point struct {
	Strength float64 `json:"strength"`
	Accuracy Bounded `json:"accuracy"`
}

// Speed is how long one image takes this machine, from pixels of the model's
// size to probabilities, after a warm-up.
type Speed struct {
	P50     float64 `json:"p50_seconds"`
	P95     float64 `json:"p95_seconds"`
	Runs    int     `json:"runs"`
	CPU     string  `json:"cpu"` // architecture and number of cores
	Batched float64 `json:"batched_seconds"`
}

// Size is what a version weighs.
type Size struct {
	Bytes      int64 `json:"bytes"` // of the weights file
	Parameters int   `json:"parameters"`
}

// Training is what a version learned from, as its manifest has it.
type Training struct {
	RunID      string             `json:"run_id,omitempty"`
	Parent     dg.ModelRef        `json:"parent,omitempty"`
	Dataset    string             `json:"dataset"`
	Counts     map[string]int     `json:"counts"`            // by source: base, human, proxy, ...
	Production int                `json:"production"`        // ids of production samples among those trained on
	Span       *dg.Interval       `json:"span,omitempty"`    // of the predictions behind them, where the ledger knows them
	Skipped    int                `json:"skipped"`           // images that could not be used
	Options    map[string]string  `json:"options"`           // flat: "hidden", "learning_rate", ...; values as JSON
	Metrics    map[string]float64 `json:"metrics,omitempty"` // as the trainer measured them
	Seed       uint64             `json:"seed"`              //
	Epochs     int                `json:"epochs"`            // run
	StartedAt  time.Time          `json:"started_at"`        //
	FinishedAt time.Time          `json:"finished_at"`       //
	GoVersion  string             `json:"go_version"`        //
	Suspects   int                `json:"suspects"`          // labels that the trainer doubted; 0 also where it did not look
}
