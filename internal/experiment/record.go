// Package experiment keeps what was tried: one record for each training run,
// trial of a search and evaluation, with its parameters, its final figures, the
// curves over its epochs, where it ran, and what it goes on from.
//
// A record is a flat thing of names and values, so that records of different
// kinds stand in one table; [Filter] chooses among them, [Store] keeps them in
// the ledger, [CSV], [JSON] and [MLflow] carry them elsewhere. Names are
// letters, digits, "_", "-" and "."; figures are finite. Tags and notes are
// people's: what a pipeline writes never touches them.
package experiment

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	dg "driftgate"
)

// The kinds of records.
const (
	Train      = "train"      // a model from a dataset alone
	Retrain    = "retrain"    // one from a dataset and production's labels
	Trial      = "trial"      // one point of a search
	Evaluation = "evaluation" // a challenger judged against a champion
)

// Kinds lists every kind.
var Kinds = []string{Train, Retrain, Trial, Evaluation}

// The states of a record. The last three are final.
const (
	Running   = "running"
	Done      = "done"
	Failed    = "failed"
	Cancelled = "cancelled"
)

// States lists every state.
var States = []string{Running, Done, Failed, Cancelled}

// Point is a figure of a curve.
type Point struct {
	Step  int       `json:"step"` // epoch or step, from 1
	Value float64   `json:"value"`
	At    time.Time `json:"at,omitzero"`
}

// Record is one experiment. Ratios run 0 to 1, times are UTC.
type Record struct {
	ID          string             `json:"id"` // that of its run, or made of it
	Kind        string             `json:"kind"`
	Parent      string             `json:"parent,omitempty"` // id of the record that it goes on from: whose weights it began with, whose model it judges
	RunID       string             `json:"run_id,omitempty"`
	Version     dg.ModelRef        `json:"version,omitempty"` // the model that it made or judged
	State       string             `json:"state"`
	Verdict     string             `json:"verdict,omitempty"` // the gate's answer
	Error       string             `json:"error,omitempty"`
	Parameters  map[string]string  `json:"parameters,omitempty"`
	Metrics     map[string]float64 `json:"metrics,omitempty"` // final
	Curves      map[string][]Point `json:"curves,omitempty"`
	Environment map[string]string  `json:"environment,omitempty"`
	Tags        map[string]string  `json:"tags,omitempty"`
	Note        string             `json:"note,omitempty"`
	StartedAt   time.Time          `json:"started_at"`
	FinishedAt  time.Time          `json:"finished_at,omitzero"`
}

// Finished reports whether the record is in a final state.
func (r Record) Finished() bool { return r.State != Running }

// Limits on what one record holds.
const (
	MaxID     = 200 // bytes
	MaxName   = 200 // bytes of a parameter's, metric's, tag's or curve's name
	MaxNames  = 1000
	MaxValue  = 2000 // bytes of a parameter or a tag
	MaxError  = 2000 // bytes
	MaxNote   = 20_000
	MaxTags   = 50
	MaxCurves = 50
	MaxPoints = 10_000 // of all curves
)

var (
	idForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
)

// Validate reports every fault, at most twenty; the error is
// [driftgate.ErrInvalid].
func (r Record) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		if len(errs) < 20 {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	if len(r.ID) > MaxID || !idForm.MatchString(r.ID) {
		bad("id %.40q: want letters, digits, - . _ only, at most %d", r.ID, MaxID)
	}
	if !contains(Kinds, r.Kind) {
		bad("kind %.40q: want one of %s", r.Kind, strings.Join(Kinds, ", "))
	}
	if !contains(States, r.State) {
		bad("state %.40q: want one of %s", r.State, strings.Join(States, ", "))
	}
	if r.StartedAt.IsZero() {
		bad("started_at: want a time")
	}
	if !r.FinishedAt.IsZero() && r.FinishedAt.Before(r.StartedAt) {
		bad("finished_at %s: want none before started_at %s", r.FinishedAt, r.StartedAt)
	}
	if len(r.Error) > MaxError || !utf8.ValidString(r.Error) {
		bad("error: %d bytes: want UTF-8 of at most %d", len(r.Error), MaxError)
	}
	checkTexts("parameters", r.Parameters, MaxNames, bad)
	checkTexts("environment", r.Environment, MaxNames, bad)
	for _, fault := range checkOwn(r.Tags, r.Note) {
		bad("%w", fault)
	}
	if len(r.Metrics) > MaxNames {
		bad("metrics: %d: want at most %d", len(r.Metrics), MaxNames)
	}
	for name, v := range r.Metrics {
		checkName("metrics", name, bad)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			bad("metrics.%s: %v: want a finite number", name, v)
		}
	}
	checkCurves(r.Curves, bad)
	if len(errs) > 0 {
		return fmt.Errorf("experiment: record: %w: %w", dg.ErrInvalid, errors.Join(errs...))
	}
	return nil
}

func checkCurves(curves map[string][]Point, bad func(string, ...any)) {
	points := 0
	for name, curve := range curves {
		checkName("curves", name, bad)
		points += len(curve)
		for i, p := range curve {
			if math.IsNaN(p.Value) || math.IsInf(p.Value, 0) || p.Step < 0 || (i > 0 && p.Step <= curve[i-1].Step) {
				bad("curves.%s[%d]: step %d, value %v: want steps that grow and finite values", name, i, p.Step, p.Value)
				break
			}
		}
	}
	if len(curves) > MaxCurves || points > MaxPoints {
		bad("curves: %d with %d points: want at most %d with %d", len(curves), points, MaxCurves, MaxPoints)
	}
}

// checkOwn looks at what people write.
func checkOwn(tags map[string]string, note string) (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	checkTexts("tags", tags, MaxTags, bad)
	if len(note) > MaxNote || !writable(note) {
		bad("note: %d bytes: want UTF-8 without zero bytes, at most %d", len(note), MaxNote)
	}
	return errs
}

func checkTexts(what string, texts map[string]string, most int, bad func(string, ...any)) {
	if len(texts) > most {
		bad("%s: %d: want at most %d", what, len(texts), most)
	}
	for name, v := range texts {
		checkName(what, name, bad)
		if len(v) > MaxValue || !writable(v) {
			bad("%s.%s: %d bytes: want UTF-8 without zero bytes, at most %d", what, name, len(v), MaxValue)
		}
	}
}

func checkName(what, name string, bad func(string, ...any)) {
	if len(name) > MaxName || !nameForm.MatchString(name) || strings.Contains(name, "..") || strings.HasSuffix(name, ".") {
		bad("%s: name %.40q: want letters, digits, _ - and single dots within, at most %d", what, name, MaxName)
	}
}

func writable(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}
