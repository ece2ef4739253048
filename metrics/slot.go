package metrics

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// slotRules is the version of [memory.next] that new slots are closed by. Slots
// keep theirs, so that old ones replay to the same digits.
//
//	0  detector and alarm
//	1  moments with the counts, losses of several people, the rectifier of the
//	   reference, plain evidence and confidence sequence
//	2  curate intervals without any label are no part of the reference
const slotRules = 2

// slotInputs is everything that the decision on one slot depends on beside the
// memory before it: stored with the slot, so that anyone can recompute it.
type slotInputs struct {
	Rules        int           `json:"rules,omitempty"`
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
	Sums        sums       `json:"sums,omitzero"`
	Picks       []slotPick `json:"picks,omitempty"`
}

// sums are the moments of a stratum, as they are stored: in the order of
// [driftgate.Moments].
type sums [8]int64

func sumsOf(m dg.Moments) sums {
	return sums{int64(m.Unscored), m.F, m.FF, m.LabelF, m.LabelFF, m.LabelYF, m.LabelYY, m.Dissent}
}

func (s sums) moments() dg.Moments {
	return dg.Moments{Unscored: int(s[0]), F: s[1], FF: s[2], LabelF: s[3], LabelFF: s[4], LabelYF: s[5], LabelYY: s[6], Dissent: s[7]}
}

type slotPick struct {
	ID    string  `json:"id"`
	Wrong bool    `json:"wrong,omitempty"`
	Loss  float64 `json:"loss,omitempty"` // share of people who disagree with the model, where they were not of one mind
}

func pickOf(p ledger.Pick) slotPick {
	out := slotPick{ID: p.ID, Wrong: p.Labelled && !p.Correct}
	if p.Labelled && p.Agreement > 0 && p.Agreement < 1 {
		out.Loss = math.Round(1000*(1-p.Agreement)) / 1000 // as the ledger keeps it
	}
	return out
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

	Counts          []refCount `json:"counts,omitempty"` // collected for the reference, until it is complete
	ReferenceLabels int        `json:"reference_labels"`
	ReferenceError  float64    `json:"reference_error,omitempty"` // upper 97.5% bound of the champion's weighted error
	P0              float64    `json:"p0,omitempty"`              // 0 until the reference is complete

	Rules         int                `json:"rules,omitempty"`    // of the slot before
	Blind         bool               `json:"blind,omitempty"`    // some slot of the reference came without moments
	Rectifier     estimate.Rectifier `json:"rectifier,omitzero"` // of the reference, once it is complete
	WatchingSince time.Time          `json:"watching_since,omitzero"`
	Evidence      estimate.Evidence  `json:"evidence,omitzero"` // since WatchingSince, never reset

	Detector estimate.State `json:"detector"`
	Alarm    estimate.Alarm `json:"alarm"`
	Last     *AlarmEvent    `json:"last,omitempty"` // the newest event
}

// refCount is a stratum of the reference.
type refCount struct {
	dg.StratumCount
	Sums sums `json:"sums,omitzero"`
}

// next is the memory after one slot. It is pure: neither clock nor ledger, and
// the given memory is not changed.
//
// The first slots make the reference, once: when they hold ReferenceLabels
// labels, p0 becomes the upper 97.5% bound of their weighted error plus the
// tolerance. They feed nothing; later slots feed the detector.
func (mem memory) next(in slotInputs) (memory, slotOutcome, error) {
	if in.Rules < 0 || in.Rules > slotRules {
		return mem, slotOutcome{}, fmt.Errorf("slot %s: rules %d: this driftgate knows up to %d: %w", in.Slot, in.Rules, slotRules, dg.ErrInvalid)
	}
	mem = mem.under(in.Rules)
	mem.Slots++
	if mem.P0 == 0 {
		return mem.refer(in)
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
	if in.Rules >= 1 {
		if mem.WatchingSince.IsZero() { // the reference is older than the rules
			mem.WatchingSince = in.Slot.Start
		}
		mem.Evidence = mem.Evidence.Add(result.Errors, mem.P0)
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

// under is the memory as the given rules know it.
func (mem memory) under(rules int) memory {
	if rules == 0 {
		return memory{Slots: mem.Slots, Counts: slices.Clone(mem.Counts), ReferenceLabels: mem.ReferenceLabels, ReferenceError: mem.ReferenceError,
			P0: mem.P0, Detector: mem.Detector, Alarm: mem.Alarm, Last: mem.Last}
	}
	mem.Blind = mem.Blind || mem.Rules == 0 && len(mem.Counts) > 0
	mem.Rules = rules
	return mem
}

// refer adds one slot to the reference.
func (mem memory) refer(in slotInputs) (memory, slotOutcome, error) {
	var out slotOutcome
	mem.Counts = addCounts(mem.Counts, in.Strata)
	if in.Rules >= 2 {
		mem.Counts = answered(mem.Counts)
	}
	mem.ReferenceLabels = 0
	counts := make([]dg.StratumCount, len(mem.Counts))
	for i, c := range mem.Counts {
		counts[i] = c.StratumCount
		counts[i].Moments = c.Sums.moments()
		mem.ReferenceLabels += c.Labels
	}
	upper, ok := estimate.Reference(counts)
	p0 := upper + in.Options.Tolerance
	if !ok || mem.ReferenceLabels < in.Options.ReferenceLabels || p0 <= 0 || p0 >= 1 {
		return mem, out, nil
	}
	mem.ReferenceError, mem.P0, mem.Counts, out.Referenced = upper, p0, nil, true
	if in.Rules >= 1 {
		mem.WatchingSince = in.Slot.End
		if r, ok := estimate.RectifierOf(counts); ok && !mem.Blind {
			mem.Rectifier = r
		}
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
func addCounts(counts []refCount, strata []slotStratum) []refCount {
	out := slices.Clone(counts)
	for _, s := range strata {
		i := slices.IndexFunc(out, func(c refCount) bool { return c.Stratum == s.Stratum && c.Interval.Equal(s.Interval) })
		if i < 0 {
			i = len(out)
			out = append(out, refCount{StratumCount: dg.StratumCount{Stratum: s.Stratum, Interval: s.Interval}})
		}
		c := &out[i]
		c.Predictions += s.Predictions
		c.Labels += s.Labels
		c.Correct += s.Correct
		for j := range c.Sums {
			c.Sums[j] += s.Sums[j]
		}
	}
	return out
}

// answered leaves out the curate intervals in which nobody has labelled
// anything: the time before people begin to label says nothing of the champion,
// and as strata without a label it would all count as wrong, for an alarm that
// never fires. It looks at the number of labels only, and bounds what is kept.
func answered(counts []refCount) []refCount {
	labels := map[int64]int{}
	for _, c := range counts {
		labels[c.Interval.UnixNano()] += c.Labels
	}
	return slices.DeleteFunc(counts, func(c refCount) bool { return labels[c.Interval.UnixNano()] == 0 })
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
