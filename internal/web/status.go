package web

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
	"driftgate/metrics"
)

// Status is the loop at one moment, for the command line, the demo and the
// pages' live updates.
type Status struct {
	Now      time.Time           `json:"now" doc:"by the loop's clock, which may run faster than the wall's"`
	Model    string              `json:"model"`
	Version  string              `json:"version" doc:"of driftgate"`
	Champion *dg.Champion        `json:"champion" doc:"null before the first promotion"`
	Serving  dg.ModelRef         `json:"serving" doc:"the artifact that answers now"`
	Captured int                 `json:"captured" doc:"predictions in the ledger"`
	Spool    spoolBody           `json:"spool"`
	Labels   labelProgress       `json:"labels"`
	Windows  []dg.Accuracy       `json:"windows" doc:"without their slices, which /accuracy has"`
	Alarm    metrics.AlarmStatus `json:"alarm"`
	Drift    metrics.DriftStatus `json:"drift"`
	Runs     []ledger.Run        `json:"runs" doc:"the newest five, and every unfinished one"`
}

type spoolBody struct {
	Items int   `json:"items" doc:"predictions that the object store doesn't have yet"`
	Bytes int64 `json:"bytes"`
}

// plainAlarm is the alarm with figures that JSON can carry.
func plainAlarm(a metrics.AlarmStatus) metrics.AlarmStatus {
	if a.State == "" {
		a.State = estimate.Quiet
	}
	a.Evidence, a.FiredEvidence, a.ThresholdYears, a.EValue = number(a.Evidence), number(a.FiredEvidence), number(a.ThresholdYears), number(a.EValue)
	return a
}

// withoutSlices copies windows without what would make the status, which goes
// to every open page each second, many times as long.
func withoutSlices(windows []dg.Accuracy) []dg.Accuracy {
	out := make([]dg.Accuracy, len(windows))
	for i, w := range windows {
		w.Slices = nil
		out[i] = w
	}
	return out
}

// endOfTime is later than every prediction, and fits nanoseconds in an int64.
var endOfTime = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// capturedFor is how long the count of captured predictions may be old: it
// reads the whole ledger.
const capturedFor = 2 * time.Second

// capturedCount remembers the count for a moment.
type capturedCount struct {
	mu sync.Mutex
	at time.Time
	n  int
}

func (s *server) captured(ctx context.Context) (int, error) {
	s.count.mu.Lock()
	defer s.count.mu.Unlock()
	if time.Since(s.count.at) < capturedFor {
		return s.count.n, nil
	}
	counts, err := s.d.Ledger.Counts(ctx, "", dg.Interval{End: endOfTime})
	if err != nil {
		return 0, err
	}
	s.count.n = 0
	for _, c := range counts {
		s.count.n += c.Predictions
	}
	s.count.at = time.Now()
	return s.count.n, nil
}

// status gathers the loop's state. Nothing in it is NaN, which JSON has not.
func (s *server) status(ctx context.Context) (Status, error) {
	snap := s.d.Accuracy.Snapshot()
	st := Status{
		Now: s.o.Now().UTC(), Model: s.o.Model, Version: s.o.Version, Serving: s.d.Serving.Version(),
		Windows: withoutSlices(snap.Windows), Alarm: plainAlarm(snap.Alarm), Drift: snap.Drift,
	}
	if st.Drift.Tests == nil {
		st.Drift.Tests = map[string]estimate.Drift{} // an object in JSON, not null
	}
	st.Spool.Items, st.Spool.Bytes = s.d.Serving.Spooled()
	if snap.Champion.Version != "" {
		st.Champion = &snap.Champion
	}
	progress, err := s.d.Labelling.Progress(ctx)
	if err != nil {
		return st, err
	}
	st.Labels = progressOf(progress)
	if st.Captured, err = s.captured(ctx); err != nil {
		return st, err
	}
	st.Runs, err = s.currentRuns(ctx)
	return st, err
}

// currentRuns returns the newest five runs and every unfinished one among the
// newest hundred. Inputs and results are left to /runs/{id}.
func (s *server) currentRuns(ctx context.Context) ([]ledger.Run, error) {
	runs, err := s.d.Ledger.Runs(ctx, "", 100)
	if err != nil {
		return nil, err
	}
	kept := []ledger.Run{}
	for i, r := range runs {
		if i < 5 || !r.Finished() {
			r.Input, r.Result = nil, nil
			kept = append(kept, r)
		}
	}
	return kept, nil
}

// champion returns the champion record, and false when there is none.
func (s *server) champion(ctx context.Context) (dg.Champion, bool, error) {
	c, err := s.d.Models.Champion(ctx)
	if errors.Is(err, dg.ErrNotFound) {
		return c, false, nil
	}
	return c, err == nil, err
}

// finite drops what JSON can't carry.
func finite(m map[string]float64) map[string]float64 {
	out := make(map[string]float64, len(m))
	for k, v := range m {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			out[k] = v
		}
	}
	return out
}

// number makes an infinite or missing figure one that JSON can carry.
func number(v float64) float64 {
	switch {
	case math.IsNaN(v):
		return 0
	case math.IsInf(v, 0):
		return math.Copysign(math.MaxFloat64, v)
	}
	return v
}

func newestChampionFirst(history []dg.Champion) []dg.Champion {
	out := slices.Clone(history)
	slices.SortStableFunc(out, func(a, b dg.Champion) int { return b.Generation - a.Generation })
	return out
}
