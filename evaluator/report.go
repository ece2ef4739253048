package evaluator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/internal/network"
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
	Points []Point `json:"points"` // by strength; 0 is without drift
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
	Bytes      int64 `json:"bytes"` // of the weights, as float32
	Parameters int   `json:"parameters"`
}

// Training is what a version learned from, as its manifest has it.
type Training struct {
	RunID      string             `json:"run_id,omitempty"`
	Parent     dg.ModelRef        `json:"parent,omitempty"`
	Dataset    string             `json:"dataset"`
	Counts     map[string]int     `json:"counts"`            // by source: base, human, proxy, ...
	Production int                `json:"production"`        // ids of production samples among those trained on
	Span       *dg.Interval       `json:"span,omitempty"`    // of the predictions behind them; nil where the trainer did not say
	Skipped    int                `json:"skipped"`           // images that could not be used
	Options    map[string]string  `json:"options"`           // flat: "hidden", "learning_rate", ...; values as JSON
	Metrics    map[string]float64 `json:"metrics,omitempty"` // as the trainer measured them
	Seed       uint64             `json:"seed"`              //
	Epochs     int                `json:"epochs"`            // run
	StartedAt  time.Time          `json:"started_at"`        //
	FinishedAt time.Time          `json:"finished_at"`       //
	GoVersion  string             `json:"go_version"`        //
	Suspects   int                `json:"suspects"`          // labels that the trainer doubted; 0 also where it did not look
	Dropped    int                `json:"dropped"`           // of those, left out
}

// Report puts a version to every suite: the held-out labels of iv that it was
// not trained on, its dataset's test split, and the special suites of the gate.
// A suite that can never be read as it stands has its Fault; a store that does
// not answer is an error. The error is [dg.ErrNotFound] for a model that is not
// there.
func (e *Evaluator) Report(ctx context.Context, ref dg.ModelRef, iv dg.Interval) (Report, error) {
	vs, err := e.load(ctx, ref)
	if err != nil {
		return Report{}, err
	}
	reports, _, err := e.reports(ctx, vs, iv)
	if err != nil {
		return Report{}, fmt.Errorf("evaluator: report on %s: %w", ref.Short(), err)
	}
	return reports[0], nil
}

// reports is one report a version, on the samples that none was trained on, and
// the sheets behind them, one a suite that could be read.
func (e *Evaluator) reports(ctx context.Context, vs []*version, iv dg.Interval) ([]Report, []*sheet, error) {
	out := make([]Report, len(vs))
	for i, v := range vs {
		if _, err := v.answering(); err != nil {
			return nil, nil, err // its self-test fails: nothing that it says counts
		}
		speed, err := e.speed(ctx, v)
		if err != nil {
			return nil, nil, err
		}
		m := v.Manifest
		out[i] = Report{Version: v.ref, Model: m.Model, Interval: iv, At: e.o.now(), Classes: m.Classes, Robustness: []Curve{}, Notes: []string{},
			Speed: speed, Size: Size{Bytes: 4 * int64(m.Spec.Parameters()), Parameters: m.Spec.Parameters()}, Training: training(m)}
	}
	var sheets []*sheet
	for _, rule := range e.rules() {
		s, err := e.open(ctx, vs, rule, iv)
		var sh *sheet
		if err == nil {
			sh, err = e.fill(ctx, s, vs)
		}
		switch {
		case err == nil:
			sheets = append(sheets, sh)
		case !permanent(err):
			return nil, nil, fmt.Errorf("suite %s: %w", rule.Name, err)
		}
		for v := range vs {
			out[v].add(sh, v, s.Suite, err)
		}
		if sh != nil && sh.Kind == KindTest && sh.Samples > 0 {
			curves, err := e.curves(ctx, s, vs)
			if err != nil {
				return nil, nil, fmt.Errorf("robustness: %w", err)
			}
			for v := range vs {
				out[v].Robustness = curves[v]
			}
		}
	}
	return out, sheets, nil
}

// rules are the suites of the gate, and the test suite where it names none.
func (e *Evaluator) rules() []SuiteRule {
	rules := slices.Clone(e.o.Gate.Rules())
	if !slices.ContainsFunc(rules, func(r SuiteRule) bool { return r.Name == KindTest }) {
		rules = slices.Insert(rules, 1, SuiteRule{Name: KindTest})
	}
	return rules
}

// add enters what version v showed on a suite, or why it could not.
func (r *Report) add(sh *sheet, v int, s Suite, fault error) {
	if fault != nil {
		r.Suites = append(r.Suites, SuiteReport{Suite: s, Fault: fault.Error(), PerClass: []ClassReport{}, Confusion: [][]int{}, Slices: []Slice{},
			Calibration: Calibration{Bins: []CalibrationBin{}}})
		return
	}
	r.Suites = append(r.Suites, sh.report(v))
	r.Notes = append(r.Notes, sh.remarks()...)
	if sh.Kind == KindHeldout && !sh.Weighted && sh.Samples > 0 {
		r.Notes = append(r.Notes, "how many predictions stand behind the held-out labels is not known: hard images are not weighed against easy ones")
	}
}

// training is what a manifest tells.
func training(m network.Manifest) Training {
	t := Training{RunID: m.RunID, Parent: m.Parent, Dataset: m.Dataset, Counts: m.Counts, Skipped: len(m.Skipped), Options: flat(m.Options),
		Metrics: m.Metrics, Seed: m.Seed, Epochs: m.Epochs, StartedAt: m.StartedAt, FinishedAt: m.FinishedAt, GoVersion: m.GoVersion,
		Production: len(production(m))}
	if c := m.Composition; c != nil {
		t.Span, t.Dropped = c.Labelling.Interval, c.Quality.Dropped
		for _, n := range c.Quality.Suspects {
			t.Suspects += n
		}
	}
	return t
}

// production lists the ids of production samples among those trained on: theirs
// are file names, those of datasets are paths.
func production(m network.Manifest) (ids []string) {
	for _, id := range m.TrainedOn {
		if !strings.Contains(id, "/") {
			ids = append(ids, id)
		}
	}
	return ids
}
