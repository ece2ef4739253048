package metrics

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// driftMemory is what the comparison of inputs goes on from: stored whenever
// the reference is complete and after each look.
type driftMemory struct {
	ModelVersion string                    `json:"model_version"`
	Started      time.Time                 `json:"started"`               // when this version became champion
	Reference    *driftSide                `json:"reference,omitempty"`   // nil until complete
	Predictions  int                       `json:"predictions,omitempty"` // behind the reference, so far
	Start        time.Time                 `json:"start,omitzero"`        // of the window of the newest look
	End          time.Time                 `json:"end,omitzero"`
	Tests        map[string]estimate.Drift `json:"tests,omitempty"`
}

// driftSide is one of the two sets of predictions that are compared.
type driftSide struct {
	End      time.Time      `json:"end"`     // of the reference
	Classes  map[string]int `json:"classes"` // predictions, by class
	Bands    []int          `json:"bands"`   // predictions, by band of ledger.ConfidenceBands
	Features []byte         `json:"features,omitempty"`

	predictions int
}

func (m *Metrics) noDrift() DriftStatus {
	return DriftStatus{Tests: map[string]estimate.Drift{}, Window: WindowName(m.o.Drift.Window), ReferenceNeeded: m.o.Drift.ReferencePredictions}
}

// inputDrift looks at the window that ended with the newest whole hop, once,
// when it has not been looked at. Input drift never retrains.
func (m *Metrics) inputDrift(ctx context.Context, c serving, at time.Time) (DriftStatus, error) {
	s := m.noDrift()
	if c.Version == "" || c.PromotedAt.IsZero() {
		return s, nil
	}
	if err := m.rememberDrift(ctx, c); err != nil {
		return s, fmt.Errorf("input drift: %w", err)
	}
	hop := dg.Slot(at, m.o.Drift.Every).Start
	if err := m.lookAt(ctx, c, hop); err != nil {
		return s, fmt.Errorf("input drift: %w", err)
	}
	d := m.drift
	s.Start, s.End, s.ReferencePredictions, s.Complete = d.Start, d.End, d.Predictions, d.Reference != nil
	if d.Tests != nil {
		s.Tests = d.Tests
	}
	return s, nil
}

// rememberDrift makes m.drift that of the champion.
func (m *Metrics) rememberDrift(ctx context.Context, c serving) error {
	mine := func(d *driftMemory) bool {
		return d != nil && d.ModelVersion == c.Version.Short() && d.Started.Equal(c.PromotedAt)
	}
	if mine(m.drift) {
		return nil
	}
	body, err := m.ledger.DriftReference(ctx, m.o.Model)
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		return err
	}
	var d driftMemory
	if err == nil {
		if err := json.Unmarshal(body, &d); err != nil {
			m.o.Logger.Warn("the drift reference cannot be read and is made anew", "err", err)
		}
	}
	if !mine(&d) || (d.Reference != nil && len(d.Reference.Bands) != len(ledger.ConfidenceBands)) {
		d = driftMemory{ModelVersion: c.Version.Short(), Started: c.PromotedAt.UTC()}
	}
	m.drift = &d
	return nil
}

// lookAt completes the reference when it can, and looks at the window that ends
// at hop when that is news.
func (m *Metrics) lookAt(ctx context.Context, c serving, hop time.Time) error {
	d := *m.drift
	if d.Reference == nil {
		var err error
		if d.Predictions, d.Reference, err = m.driftReference(ctx, c, hop); err != nil {
			return err
		}
		if d.Reference != nil {
			m.keepDrift(ctx, d)
		}
		m.drift = &d
	}
	if d.Reference == nil || !d.Reference.End.Before(hop) || hop.Before(d.End) || (hop.Equal(d.End) && len(d.Tests) > 0) {
		return nil
	}
	d.Start, d.End, d.Tests = hop.Add(-m.o.Drift.Window), hop, nil
	if d.Start.Before(d.Reference.End) {
		d.Start = d.Reference.End
	}
	now, err := m.driftSide(ctx, d.ModelVersion, dg.Interval{Start: d.Start, End: hop})
	if err != nil {
		return err
	}
	if now.predictions >= m.o.Drift.MinPredictions {
		d.Tests = m.compare(now, *d.Reference, c.classes)
		m.keepDrift(ctx, d)
	}
	m.drift = &d
	return nil
}

// keepDrift stores d. This process goes on without when it fails, and the next
// look stores all of it again.
func (m *Metrics) keepDrift(ctx context.Context, d driftMemory) {
	body, err := json.Marshal(d)
	if err == nil {
		err = m.ledger.SetDriftReference(ctx, m.o.Model, body)
	}
	if err != nil {
		m.o.Logger.Error("the drift reference is not kept", "err", err)
	}
}

// driftReference collects the champion's first predictions: those of whole
// hops, up to the first that makes them enough. The side is nil before that.
func (m *Metrics) driftReference(ctx context.Context, c serving, hop time.Time) (int, *driftSide, error) {
	count := func(end time.Time) (n int, err error) {
		if !c.PromotedAt.Before(end) {
			return 0, nil
		}
		tallies, err := m.ledger.Tallies(ctx, c.Version.Short(), dg.Interval{Start: c.PromotedAt, End: end})
		if err != nil {
			return 0, err
		}
		for _, t := range tallies[0] {
			n += t.Known
		}
		return n, nil
	}
	n, err := count(hop)
	if err != nil || n < m.o.Drift.ReferencePredictions {
		return n, nil, err
	}
	first := dg.Slot(c.PromotedAt, m.o.Drift.Every).End
	var failed error
	hops := sort.Search(int(hop.Sub(first)/m.o.Drift.Every), func(i int) bool {
		n, err := count(first.Add(time.Duration(i) * m.o.Drift.Every))
		failed = cmp.Or(failed, err)
		return n >= m.o.Drift.ReferencePredictions
	})
	if failed != nil {
		return n, nil, failed
	}
	end := first.Add(time.Duration(hops) * m.o.Drift.Every)
	side, err := m.driftSide(ctx, c.Version.Short(), dg.Interval{Start: c.PromotedAt, End: end})
	if err != nil {
		return n, nil, err
	}
	m.o.Logger.Info("inputs are compared from now on", "model_version", c.Version.Short(), "reference_predictions", side.predictions, "until", end)
	return side.predictions, &side, nil
}

// driftSide reads what a version predicted in iv. Only what was seen in
// production counts: labels that others brought are no fair sample of it.
func (m *Metrics) driftSide(ctx context.Context, version string, iv dg.Interval) (driftSide, error) {
	side := driftSide{End: iv.End, Classes: map[string]int{}, Bands: make([]int, len(ledger.ConfidenceBands))}
	parts, err := m.ledger.Slices(ctx, version, iv)
	if err != nil {
		return side, err
	}
	for _, p := range parts {
		known := 0
		for _, t := range p.Tallies {
			known += t.Known
		}
		if p.By == ledger.ByConfidence {
			side.Bands[p.Band] += known
			continue
		}
		side.Classes[p.Value] += known
		side.predictions += known
	}
	// Cells of features count where they begin. The first of the reference may
	// have begun before its version was promoted.
	cells, err := m.ledger.FeatureCells(ctx, version, dg.Interval{Start: dg.Slot(iv.Start, m.o.Drift.Every).Start, End: iv.End})
	if err != nil {
		return side, err
	}
	var sums estimate.FeatureSums
	for _, c := range cells {
		var cell estimate.FeatureSums
		err := cell.UnmarshalBinary(c.Sums)
		if err == nil {
			err = sums.Merge(cell)
		}
		if err != nil {
			m.o.Logger.Warn("feature sums left out", "model_version", version, "cell", c.Cell, "err", err)
		}
	}
	side.Features, err = sums.MarshalBinary()
	return side, err
}

// compare runs every test that has enough to go by.
func (m *Metrics) compare(now, reference driftSide, classes dg.Classes) map[string]estimate.Drift {
	level := estimate.Level(m.o.Drift.Every, m.o.Drift.RunLength)
	tests := map[string]estimate.Drift{}
	add := func(test string, d estimate.Drift, err error) {
		switch {
		case err == nil:
			tests[test] = d
		case !errors.Is(err, dg.ErrTooFewSamples):
			m.o.Logger.Warn("inputs cannot be compared", "test", test, "err", err)
		}
	}
	names := slices.Clone(classes)
	for _, side := range []driftSide{reference, now} {
		for _, name := range slices.Sorted(maps.Keys(side.Classes)) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	count := func(side driftSide) []int {
		out := make([]int, len(names))
		for i, name := range names {
			out[i] = side.Classes[name]
		}
		return out
	}
	d, err := estimate.MixDrift(count(now), count(reference), level)
	add(TestClassMix, d, err)
	d, err = estimate.ConfidenceDrift(now.Bands, reference.Bands, level)
	add(TestConfidence, d, err)
	var a, b estimate.FeatureSums
	if err = errors.Join(a.UnmarshalBinary(now.Features), b.UnmarshalBinary(reference.Features)); err == nil {
		d, err = estimate.FeatureDrift(a, b, level)
	}
	add(TestFeatures, d, err)
	return tests
}
