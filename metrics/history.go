package metrics

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// figureRules is the version of [windowInputs.figures] that new figures are
// made by.
const figureRules = 1

// Windows are kept each RecordEvery or, if that is longer, each so manieth part
// of their length: a week hardly changes in half an hour.
const recordsPerWindow = 48

// recordEvery is how often a window is kept.
func (m *Metrics) recordEvery(window time.Duration) time.Duration {
	return ceilDuration(window/recordsPerWindow, m.o.RecordEvery)
}

// record keeps the windows that are due as they were published, and forgets
// what is too old. Windows without predictions are not kept.
func (m *Metrics) record(ctx context.Context, s Snapshot, in []windowInputs) error {
	if m.o.RecordEvery < 0 {
		return nil
	}
	if m.recorded == nil {
		if err := m.lastRecorded(ctx, s.At); err != nil {
			return fmt.Errorf("record: %w", err)
		}
	}
	var due []ledger.Figure
	for i, w := range m.o.Windows {
		if m.recorded[w].Equal(dg.Slot(s.At, m.recordEvery(w)).Start) || s.Windows[i].Predictions == 0 {
			continue
		}
		f := ledger.Figure{Model: s.Model, ModelVersion: s.ModelVersion, Window: s.Windows[i].Window, End: s.Windows[i].End, At: s.At}
		var err error
		if f.Inputs, err = in[i].encode(); err != nil {
			return fmt.Errorf("record: %w", err)
		}
		if f.Result, err = json.Marshal(s.Windows[i]); err != nil {
			return fmt.Errorf("record: %w", err)
		}
		due = append(due, f)
	}
	if len(due) == 0 {
		return nil
	}
	if err := m.ledger.AddFigures(ctx, due...); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	for _, w := range m.o.Windows {
		m.recorded[w] = dg.Slot(s.At, m.recordEvery(w)).Start
	}
	return m.prune(ctx, s)
}

// lastRecorded finds out what an earlier process has kept of the present slots.
func (m *Metrics) lastRecorded(ctx context.Context, at time.Time) error {
	recorded := map[time.Duration]time.Time{}
	byName, first := map[string]time.Duration{}, at
	for _, w := range m.o.Windows {
		byName[WindowName(w)] = w
		if start := dg.Slot(at, m.recordEvery(w)).Start; start.Before(first) {
			first = start
		}
	}
	for f, err := range m.ledger.Figures(ctx, m.o.Model, dg.Interval{Start: first, End: endOfTime}) {
		if err != nil {
			return err
		}
		if w, ok := byName[f.Window]; ok && dg.Slot(at, m.recordEvery(w)).Contains(f.At) {
			recorded[w] = dg.Slot(at, m.recordEvery(w)).Start
		}
	}
	m.recorded = recorded
	return nil
}

// prune forgets figures that are too old, and features that no test of this or
// an earlier champion needs any more.
func (m *Metrics) prune(ctx context.Context, s Snapshot) error {
	if err := m.ledger.PruneFigures(ctx, s.At.Add(-m.o.Keep)); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	before := s.At.Add(-m.o.Drift.Window - 24*time.Hour)
	if !s.Drift.Complete && s.Champion.PromotedAt.Before(before) {
		before = s.Champion.PromotedAt.Add(-24 * time.Hour)
	}
	if oldest := s.At.Add(-m.o.Keep); before.Before(oldest) {
		before = oldest
	}
	if err := m.ledger.PruneFeatures(ctx, before); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// endOfTime is later than every prediction, and fits the ledger's nanoseconds.
var endOfTime = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// storedWindow is windowInputs as it is kept: counts in columns, because those
// pack well.
type storedWindow struct {
	Rules     int                `json:"rules"`
	Version   string             `json:"version,omitempty"`
	Start     time.Time          `json:"start"`
	End       time.Time          `json:"end"`
	MinLabels int                `json:"min_labels"`
	Reference estimate.Rectifier `json:"reference,omitzero"`
	Known     int                `json:"known"`
	Newest    time.Time          `json:"newest,omitzero"`
	Counts    columns            `json:"counts"`
	Earlier   columns            `json:"earlier"`
	Slices    []storedSlice      `json:"slices,omitempty"`
}

type storedSlice struct {
	By     string  `json:"by"`
	Value  string  `json:"value"`
	Counts columns `json:"counts"`
}

// columns are counts column by column. A column of zeros only is left out.
type columns struct {
	Strata   []dg.Stratum `json:"strata"`
	Interval []int64      `json:"interval,omitempty"` // Unix nanoseconds less those of the row before; 0 first for the zero time
	Sums     [12][]int64  `json:"sums"`               // predictions, selected, labels, correct, then the moments
}

func columnsOf(counts []dg.StratumCount) columns {
	n := len(counts)
	c := columns{Strata: make([]dg.Stratum, n), Interval: make([]int64, n)}
	var before int64
	for i, v := range counts {
		c.Strata[i] = v.Stratum
		var at int64
		if !v.Interval.IsZero() {
			at = v.Interval.UnixNano()
		}
		c.Interval[i], before = at-before, at
		moments := sumsOf(v.Moments)
		row := append([]int64{int64(v.Predictions), int64(v.Selected), int64(v.Labels), int64(v.Correct)}, moments[:]...)
		for j, x := range row {
			if x != 0 && c.Sums[j] == nil {
				c.Sums[j] = make([]int64, n)
			}
			if c.Sums[j] != nil {
				c.Sums[j][i] = x
			}
		}
	}
	return c
}

func (c columns) counts() ([]dg.StratumCount, error) {
	n := len(c.Strata)
	for _, column := range append(c.Sums[:], c.Interval) {
		if len(column) != 0 && len(column) != n {
			return nil, fmt.Errorf("a column of %d beside one of %d: %w", len(column), n, dg.ErrInvalid)
		}
	}
	out := make([]dg.StratumCount, n)
	var at int64
	for i := range out {
		var row [12]int64
		for j, column := range c.Sums {
			if column != nil {
				row[j] = column[i]
			}
		}
		out[i] = dg.StratumCount{Stratum: c.Strata[i], Predictions: int(row[0]), Selected: int(row[1]), Labels: int(row[2]), Correct: int(row[3]), Moments: sums(row[4:]).moments()}
		if c.Interval != nil {
			at += c.Interval[i]
		}
		if at != 0 {
			out[i].Interval = time.Unix(0, at).UTC()
		}
	}
	return out, nil
}

func (in windowInputs) encode() (json.RawMessage, error) {
	s := storedWindow{Rules: figureRules, Version: in.Version, Start: in.Start, End: in.End, MinLabels: in.MinLabels, Reference: in.Reference,
		Known: in.Known, Newest: in.Newest, Counts: columnsOf(in.Counts), Earlier: columnsOf(in.Earlier)}
	for _, p := range in.Slices {
		s.Slices = append(s.Slices, storedSlice{By: p.By, Value: p.Value, Counts: columnsOf(p.Counts)})
	}
	return json.Marshal(s)
}

// decodeWindow reads what encode wrote; the error is [driftgate.ErrInvalid] for
// anything else.
func decodeWindow(b json.RawMessage) (windowInputs, error) {
	var s storedWindow
	if err := json.Unmarshal(b, &s); err != nil {
		return windowInputs{}, fmt.Errorf("inputs: %w: %w", dg.ErrInvalid, err)
	}
	if s.Rules != figureRules {
		return windowInputs{}, fmt.Errorf("inputs: rules %d: this driftgate knows %d: %w", s.Rules, figureRules, dg.ErrInvalid)
	}
	in := windowInputs{Version: s.Version, Start: s.Start, End: s.End, MinLabels: s.MinLabels, Reference: s.Reference, Known: s.Known, Newest: s.Newest}
	var err error
	if in.Counts, err = s.Counts.counts(); err != nil {
		return in, err
	}
	if in.Earlier, err = s.Earlier.counts(); err != nil {
		return in, err
	}
	for _, p := range s.Slices {
		counts, err := p.Counts.counts()
		if err != nil {
			return in, err
		}
		in.Slices = append(in.Slices, sliceInputs{By: p.By, Value: p.Value, Counts: counts})
	}
	return in, nil
}
