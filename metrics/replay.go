package metrics

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// ReplayReport says what [Metrics.Replay] recomputed and found to be the same
// to the last digit.
type ReplayReport struct {
	Windows int       `json:"windows"`       // as published, each with all its figures
	Slots   int       `json:"slots"`         // closed slots of the alarm, each with its decision
	From    time.Time `json:"from,omitzero"` // end of the oldest of them; zero when there was none
	To      time.Time `json:"to,omitzero"`   // and of the newest
}

func (r *ReplayReport) saw(end time.Time) {
	if r.From.IsZero() || end.Before(r.From) {
		r.From = end
	}
	if end.After(r.To) {
		r.To = end
	}
}

// Replay recomputes, from stored inputs, every window that was kept as
// published and every closed slot of the alarm whose end lies in iv, under
// every champion. An interval without an end has none; the zero interval is all
// that is kept.
//
// The error is [driftgate.ErrConflict] when a result differs from the stored
// one, byte by byte, and names the first; the report then counts those before
// it. Digits may differ on another kind of processor, where products and sums
// are rounded together.
func (m *Metrics) Replay(ctx context.Context, iv dg.Interval) (ReplayReport, error) {
	var r ReplayReport
	if m.invalid != nil {
		return r, m.invalid
	}
	if iv.End.IsZero() {
		iv.End = endOfTime
	}
	if iv.End.Before(iv.Start) {
		return r, fmt.Errorf("metrics: replay: interval %s: want start before end: %w", iv, dg.ErrInvalid)
	}
	if err := m.replayWindows(ctx, iv, &r); err != nil {
		return r, fmt.Errorf("metrics: replay: %w", err)
	}
	if err := m.replaySlots(ctx, iv, &r); err != nil {
		return r, fmt.Errorf("metrics: replay: %w", err)
	}
	return r, nil
}

func (m *Metrics) replayWindows(ctx context.Context, iv dg.Interval, r *ReplayReport) error {
	for f, err := range m.ledger.Figures(ctx, m.o.Model, iv) {
		if err != nil {
			return err
		}
		name := fmt.Sprintf("window %s until %s of %q, published %s", f.Window, f.End.UTC().Format(time.RFC3339), f.ModelVersion, f.At.UTC().Format(time.RFC3339Nano))
		in, err := decodeWindow(f.Inputs)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if WindowName(in.End.Sub(in.Start)) != f.Window || !in.End.Equal(f.End) || in.Version != f.ModelVersion {
			return fmt.Errorf("%s: its inputs are those of window %s until %s of %q: %w", name, WindowName(in.End.Sub(in.Start)), in.End, in.Version, dg.ErrConflict)
		}
		got, err := json.Marshal(in.figures())
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if !bytes.Equal(got, f.Result) {
			return fmt.Errorf("%s: recomputed %s, stored %s: %w", name, difference(got, f.Result), difference(f.Result, got), dg.ErrConflict)
		}
		r.Windows++
		r.saw(f.End)
	}
	return nil
}

// difference is the part of a where it begins to differ from b.
func difference(a, b []byte) []byte {
	const around = 60
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return a[max(0, i-around):min(len(a), i+around)]
}

// replaySlots goes through the alarm's slots in order. Each starts from the
// stored memory of the one before, so slots before iv need not be computed.
func (m *Metrics) replaySlots(ctx context.Context, iv dg.Interval, r *ReplayReport) error {
	var before ledger.AlarmSlot
	for s, err := range m.ledger.AlarmSlots(ctx, m.o.Model, dg.Interval{End: iv.End}) {
		if err != nil {
			return err
		}
		if iv.Contains(s.Slot.End) {
			var mem memory
			if s.ModelVersion == before.ModelVersion && s.Started.Equal(before.Started) {
				err = json.Unmarshal(before.Memory, &mem)
			} else {
				mem, err = firstMemory(s)
			}
			if err == nil {
				err = recompute(mem, s)
			}
			if err != nil {
				return fmt.Errorf("slot %s of %s: %w", s.Slot, s.ModelVersion, err)
			}
			r.Slots++
			r.saw(s.Slot.End)
		}
		before = s
	}
	return nil
}

// firstMemory is what a champion's first slot started from: nothing but the
// last event of the champion before.
func firstMemory(s ledger.AlarmSlot) (memory, error) {
	var after memory
	var out slotOutcome
	if err := json.Unmarshal(s.Memory, &after); err != nil {
		return after, err
	}
	if err := json.Unmarshal(s.Outcome, &out); err != nil {
		return after, err
	}
	if len(out.Events) > 0 {
		return memory{}, nil
	}
	return memory{Last: after.Last}, nil
}

// recompute checks one stored slot.
func recompute(mem memory, s ledger.AlarmSlot) error {
	var in slotInputs
	if err := json.Unmarshal(s.Inputs, &in); err != nil {
		return err
	}
	next, out, err := mem.next(in)
	if err != nil {
		return err
	}
	_, outcome, state, err := marshalSlot(in, out, next)
	if err != nil {
		return err
	}
	if !bytes.Equal(outcome, s.Outcome) || !bytes.Equal(state, s.Memory) {
		return fmt.Errorf("recomputed %s %s, stored %s %s: %w", outcome, state, s.Outcome, s.Memory, dg.ErrConflict)
	}
	return nil
}
