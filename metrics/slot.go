package metrics

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// slotInputs is everything that the decision on one slot depends on beside the
// memory before it: stored with the slot, so that anyone can recompute it.
type slotInputs struct {
	ModelVersion string        `json:"model_version"`
	Slot         dg.Interval   `json:"slot"`
	ClosedAt     time.Time     `json:"closed_at"`
	Options      AlarmOptions  `json:"options"`
	Strata       []slotStratum `json:"strata"`
}

type slotStratum struct {
	Stratum     dg.Stratum `json:"stratum"`
	Interval    time.Time  `json:"interval,omitzero"`
	Predictions int        `json:"predictions"`
	Labels      int        `json:"labels"`
	Correct     int        `json:"correct"`
	Picks       []slotPick `json:"picks,omitempty"`
}

type slotPick struct {
	ID    string  `json:"id"`
	Wrong bool    `json:"wrong,omitempty"`
	Loss  float64 `json:"loss,omitempty"` // share of people who disagree with the model, where they were not of one mind
}

// loss is what the detector bets on.
func (p slotPick) loss() float64 {
	if p.Loss == 0 && p.Wrong {
		return 1
	}
	return p.Loss
}

// slotOutcome is what one slot did.
type slotOutcome struct {
	Referenced bool                  `json:"referenced,omitempty"` // it completed the reference
	Result     *estimate.SlotResult  `json:"result,omitempty"`     // nil while the reference is collected
	Entered    []estimate.AlarmState `json:"entered,omitempty"`
	Events     []AlarmEvent          `json:"events,omitempty"`
}

// memory is the alarm between two slots. The zero value belongs to a new
// champion.
type memory struct {
	Slots int `json:"slots"` // closed so far

	Counts          []dg.StratumCount `json:"counts,omitempty"` // collected for the reference, until it is complete
	ReferenceLabels int               `json:"reference_labels"`
	ReferenceError  float64           `json:"reference_error,omitempty"` // upper 97.5% bound of the champion's weighted error
	P0              float64           `json:"p0,omitempty"`              // 0 until the reference is complete

	Detector estimate.State `json:"detector"`
	Alarm    estimate.Alarm `json:"alarm"`
	Last     *AlarmEvent    `json:"last,omitempty"` // the newest event
}

// next is the memory after one slot. It is pure: neither clock nor ledger, and
// the given memory is not changed.
//
// The first slots make the reference, once: when they hold ReferenceLabels
// labels, p0 becomes the upper 97.5% bound of their weighted error plus the
// tolerance. They feed nothing; later slots feed the detector.
func (mem memory) next(in slotInputs) (memory, slotOutcome, error) {
	mem.Slots++
	if mem.P0 == 0 {
		out := slotOutcome{}
		mem.Counts = addCounts(mem.Counts, in.Strata)
		mem.ReferenceLabels = 0
		for _, c := range mem.Counts {
			mem.ReferenceLabels += c.Labels
		}
		upper, ok := estimate.Reference(mem.Counts)
		if p0 := upper + in.Options.Tolerance; ok && mem.ReferenceLabels >= in.Options.ReferenceLabels && p0 > 0 && p0 < 1 {
			mem.ReferenceError, mem.P0, mem.Counts, out.Referenced = upper, p0, nil, true
		}
		return mem, out, nil
	}
	d := estimate.Detector{P0: mem.P0, ThresholdYears: in.Options.ThresholdYears}
	state, result, err := d.Step(mem.Detector, in.slot())
	if err != nil {
		return mem, slotOutcome{}, fmt.Errorf("slot %s: %w", in.Slot, err)
	}
	before := mem.Alarm
	alarm, entered, reset := estimate.NextAlarm(mem.Alarm, in.Slot.End, result,
		estimate.AlarmOptions{Hold: in.Options.Hold, ResolveHold: in.Options.ResolveHold})
	mem.Alarm, mem.Detector = alarm, state
	if reset {
		mem.Detector = estimate.State{}
	}
	out := slotOutcome{Result: &result, Entered: entered}
	for _, s := range entered {
		e := AlarmEvent{State: s, At: in.ClosedAt, ModelVersion: in.ModelVersion}
		switch s {
		case estimate.Firing:
			e.Since, e.Evidence = alarm.Onset, alarm.Evidence
		case estimate.Resolved:
			e.Since, e.Evidence = before.Onset, before.Evidence
		default:
			continue
		}
		out.Events = append(out.Events, e)
		mem.Last = &e
	}
	return mem, out, nil
}

// slot is the detector's view of the inputs.
func (in slotInputs) slot() estimate.Slot {
	s := estimate.Slot{Start: in.Slot.Start, Length: in.Options.SlotLength}
	for _, h := range in.Strata {
		t := estimate.SlotStratum{Predictions: h.Predictions}
		for _, p := range h.Picks {
			t.Picks = append(t.Picks, estimate.Pick{ID: p.ID, Loss: p.loss()})
		}
		s.Strata = append(s.Strata, t)
	}
	return s
}

// addCounts adds a slot's strata to counts: a curate interval may reach over
// two slots.
func addCounts(counts []dg.StratumCount, strata []slotStratum) []dg.StratumCount {
	out := append([]dg.StratumCount(nil), counts...)
next:
	for _, s := range strata {
		for i := range out {
			if c := &out[i]; c.Stratum == s.Stratum && c.Interval.Equal(s.Interval) {
				c.Predictions += s.Predictions
				c.Labels += s.Labels
				c.Correct += s.Correct
				continue next
			}
		}
		out = append(out, dg.StratumCount{Stratum: s.Stratum, Interval: s.Interval, Predictions: s.Predictions, Labels: s.Labels, Correct: s.Correct})
	}
	return out
}

// sentence says what an event rests on.
func (mem memory) sentence(o AlarmOptions, out slotOutcome) string {
	if out.Referenced {
		return fmt.Sprintf("reference of %d labels: error at most %.2f%%, alarm above %.2f%%", mem.ReferenceLabels, 100*mem.ReferenceError, 100*mem.P0)
	}
	for _, e := range out.Events {
		if e.State == estimate.Firing {
			return fmt.Sprintf("error above %.2f%%: evidence of %.3g years, threshold %.3g; since about %s",
				100*mem.P0, e.Evidence, o.ThresholdYears, e.Since.UTC().Format(time.RFC3339))
		}
	}
	return fmt.Sprintf("no new evidence for %s", o.ResolveHold)
}

func marshalSlot(in slotInputs, out slotOutcome, mem memory) (inputs, outcome, state json.RawMessage, err error) {
	if inputs, err = json.Marshal(in); err != nil {
		return
	}
	if outcome, err = json.Marshal(out); err != nil {
		return
	}
	state, err = json.Marshal(mem)
	return
}

// Replay recomputes every stored slot of the model from its inputs, under every
// champion, and returns how many there are. The error is
// [driftgate.ErrConflict] and names the first slot whose stored result differs.
func (m *Metrics) Replay(ctx context.Context, iv dg.Interval) (ReplayReport, error) {
	var r ReplayReport
	if m.invalid != nil {
		return r, m.invalid
	}
	stored, err := m.ledger.AlarmSlots(ctx, m.o.Model, 0)
	if err != nil {
		return r, fmt.Errorf("metrics: replay: %w", err)
	}
	var mem memory
	for i, s := range stored {
		if i == 0 || s.ModelVersion != stored[i-1].ModelVersion || !s.Started.Equal(stored[i-1].Started) {
			if mem, err = firstMemory(s); err != nil {
				return r, fmt.Errorf("metrics: replay: %w", err)
			}
		}
		if mem, err = recompute(mem, s); err != nil {
			return r, fmt.Errorf("metrics: replay: %w", err)
		}
		r.Slots++
	}
	return r, nil
}

// firstMemory is what a champion's first slot started from: nothing but the
// last event of the champion before.
func firstMemory(s ledger.AlarmSlot) (memory, error) {
	var after memory
	var out slotOutcome
	if err := json.Unmarshal(s.Memory, &after); err != nil {
		return after, fmt.Errorf("slot %s: %w", s.Slot, err)
	}
	if err := json.Unmarshal(s.Outcome, &out); err != nil {
		return after, fmt.Errorf("slot %s: %w", s.Slot, err)
	}
	if len(out.Events) > 0 {
		return memory{}, nil
	}
	return memory{Last: after.Last}, nil
}

// recompute checks one stored slot and returns the memory after it.
func recompute(mem memory, s ledger.AlarmSlot) (memory, error) {
	var in slotInputs
	if err := json.Unmarshal(s.Inputs, &in); err != nil {
		return mem, fmt.Errorf("slot %s: %w", s.Slot, err)
	}
	next, out, err := mem.next(in)
	if err != nil {
		return mem, err
	}
	_, outcome, state, err := marshalSlot(in, out, next)
	if err != nil {
		return mem, err
	}
	if !bytes.Equal(outcome, s.Outcome) || !bytes.Equal(state, s.Memory) {
		return mem, fmt.Errorf("slot %s of %s: recomputed %s %s, stored %s %s: %w", s.Slot, s.ModelVersion, outcome, state, s.Outcome, s.Memory, dg.ErrConflict)
	}
	return next, nil
}
