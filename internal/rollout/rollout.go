// Package rollout decides how a challenger that passed the gate comes to serve:
// in the shadow, as a canary on a share of the traffic, then in full; and when
// it, or a champion that is still fresh, does harm and is taken back.
//
// It decides purely: a plan, the record of what is exposed, what the closed
// slots showed and the time go in, a move comes out. Who acts on it, and keeps
// slots and records, is the pipeline of that name.
//
// What decides is one statistic at every stage: the design-weighted, paired
// difference of the two models' errors on the labels since the stage plan
// began, whichever of them served an image, as betting e-values that may be
// looked at after every slot ([estimate.Harm]). So a model that is no worse
// than the margin is taken back in at most a share Alpha of rollouts, however
// long they last and however often one looks.
package rollout

import (
	"errors"
	"fmt"
	"slices"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// Stage is one step of a rollout before the challenger serves in full.
type Stage struct {
	Stage dg.Stage      `json:"stage"`
	Share float64       `json:"share"` // of the traffic, 0 to 1; 0 in the shadow
	For   time.Duration `json:"for"`   // the least time that it lasts
}

// Plan is what a challenger goes through, and how it is watched.
type Plan struct {
	Stages []Stage // in order; none: a challenger that passes the gate serves in full at once

	MinLabels int           // labelled samples in closed slots since the rollout began, without which no stage is passed
	Watch     time.Duration // how long a fresh champion is watched; 0: not at all
	Slot      time.Duration // event time that is judged at once
	Grace     time.Duration // how long a slot waits for its labels before it closes
	Alpha     float64       // chance of taking a model back that does no harm, 0 to 1
	Harm      float64       // how much more error is borne, 0 to 1
}

// Validate reports every fault; the error is [dg.ErrInvalid].
func (p Plan) Validate() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	share := 0.0
	for i, s := range p.Stages {
		switch s.Stage {
		case dg.Shadow:
			want(s.Share == 0, "stage %d: a share of %g in the shadow: want none", i+1, s.Share)
			want(share == 0, "stage %d: shadow after canary: want it before", i+1)
		case dg.Canary:
			want(s.Share > share && s.Share < 1, "stage %d: share %g: want more than %g, the stage before, and less than 1, which is no canary", i+1, s.Share, share)
			share = max(share, s.Share)
		default:
			want(false, "stage %d: %q: want %s or %s", i+1, s.Stage, dg.Shadow, dg.Canary)
		}
		want(s.For >= 0, "stage %d: for %s: want 0s or more", i+1, s.For)
	}
	want(len(p.Stages) <= maxStages, "%d stages: want at most %d", len(p.Stages), maxStages)
	want(p.MinLabels >= 0, "min_labels %d: want 0 or more", p.MinLabels)
	want(p.Watch >= 0, "watch %s: want 0s or more", p.Watch)
	want(p.Slot > 0, "slot %s: want more than 0s", p.Slot)
	want(p.Grace >= 0, "label_grace %s: want 0s or more", p.Grace)
	want(p.Alpha > 0 && p.Alpha < 1, "alpha %g: want over 0 and under 1", p.Alpha)
	want(p.Harm >= 0 && p.Harm <= .5, "harm %g: want 0 to .5", p.Harm)
	if len(errs) > 0 {
		return fmt.Errorf("rollout: plan: %w: %w", dg.ErrInvalid, errors.Join(errs...))
	}
	return nil
}

const maxStages = 20

// Slot is a closed slot: its blocks as [estimate.DealDifferences] made them.
type Slot struct {
	Slot   dg.Interval
	Pairs  int
	Blocks []float64
}

// Evidence is what the closed slots of a watch say about the model watched.
type Evidence struct {
	Slots      int       `json:"slots"`      // closed, with enough labels to be weighed
	Pairs      int       `json:"pairs"`      // labelled samples in them that both models answered
	Lost       int       `json:"lost"`       // labelled samples in closed slots that could not be weighed
	Until      time.Time `json:"until"`      // end of the newest of the slots; zero before the first
	Difference float64   `json:"difference"` // its error minus the other's, weighted; above 0 it is worse
	Lower      float64   `json:"lower"`      // of Difference: a confidence sequence at level 1 - alpha
	Upper      float64   `json:"upper"`
	Worse      float64   `json:"worse"`     // e-value against "no more error than the margin"
	Better     float64   `json:"better"`    // e-value against "no less error"
	Threshold  float64   `json:"threshold"` // 1/alpha: Worse at or over it takes the model back
}

// Weigh folds closed slots, oldest first, into evidence.
func (p Plan) Weigh(slots []Slot) Evidence {
	h := estimate.NewHarm(p.Harm)
	ev := Evidence{Threshold: 1 / p.Alpha, Worse: 1, Better: 1, Lower: -1, Upper: 1}
	for _, s := range slots {
		if len(s.Blocks) == 0 {
			ev.Lost += s.Pairs // they say nothing, so they count for nothing
			continue
		}
		h = h.Add(s.Blocks...)
		ev.Slots++
		ev.Pairs += s.Pairs
		ev.Until = s.Slot.End
		ev.Worse = max(ev.Worse, h.Worse()) // the promise is about the largest: what was once shown stays shown
	}
	ev.Difference, ev.Better = h.Difference(), h.Better()
	ev.Lower, ev.Upper = h.Interval(p.Alpha)
	return ev
}

// harmful reports whether the model is shown to do harm.
func (ev Evidence) harmful() bool { return ev.Slots > 0 && ev.Worse >= ev.Threshold }

// harm says so in words.
func (ev Evidence) harm(p Plan) string {
	return fmt.Sprintf("%+.1f points of error (%+.1f to %+.1f) on %d labelled samples, more than the %.1f that are borne: evidence %.0f, wanted %.0f",
		100*ev.Difference, 100*ev.Lower, 100*ev.Upper, ev.Pairs, 100*p.Harm, ev.Worse, ev.Threshold)
}

// Move is what to do next.
type Move uint8

// The moves.
const (
	Stay     Move = iota // nothing changes
	Advance              // to the stage Decision.Stage
	Promote              // the challenger serves in full
	End                  // the challenger is tried no more
	Rollback             // the champion before the fresh one serves again
)

var moveNames = [...]string{"stay", "advance", "promote", "end", "rollback"}

// String returns the move's name.
func (m Move) String() string {
	if int(m) >= len(moveNames) {
		return fmt.Sprintf("move(%d)", m)
	}
	return moveNames[m]
}

// MarshalText makes moves words in JSON.
func (m Move) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote; the error is [dg.ErrInvalid].
func (m *Move) UnmarshalText(b []byte) error {
	i := slices.Index(moveNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("move %q: want one of %v: %w", b, moveNames, dg.ErrInvalid)
	}
	*m = Move(i)
	return nil
}

// Decision is a move with its reason.
type Decision struct {
	Move  Move   `json:"move"`
	Stage Stage  `json:"-"` // that Advance leads to
	Step  int    `json:"-"` // its position in the plan
	Why   string `json:"why"`
}

// First is the exposure that begins a rollout of challenger against champion.
// The plan must have a stage.
func (p Plan) First(model string, challenger, against dg.ModelRef, reason, runID string, now time.Time) dg.Exposure {
	s := p.Stages[0]
	return dg.Exposure{Model: model, Challenger: challenger, Against: against, Stage: s.Stage, Share: s.Share,
		Began: now, Since: now, Reason: reason, RunID: runID}
}

// Next decides on what is exposed beside champion.
//
// Nothing is passed without MinLabels, nor before a slot that began in the stage
// is closed: no news is not good news. A stage ends when it has lasted For,
// counted from when it was entered.
func (p Plan) Next(e dg.Exposure, champion dg.ModelRef, ev Evidence, now time.Time) Decision {
	switch {
	case e.Challenger == "":
		return Decision{Why: "nothing is exposed"}
	case e.Challenger == champion:
		return Decision{Move: End, Why: "the challenger is champion"}
	case !e.Exposes(champion):
		return Decision{Move: End, Why: fmt.Sprintf("it was tried against %s, and %s is champion now", e.Against.Short(), champion.Short())}
	case ev.harmful():
		return Decision{Move: End, Why: "the challenger does harm: " + ev.harm(p)}
	case e.Step == dg.ByHand:
		return Decision{Why: "a person set this stage, and a person or harm ends it"}
	case e.Step < 0 || e.Step >= len(p.Stages):
		return Decision{Why: fmt.Sprintf("stage %d is not in the plan of %d any more: a person decides", e.Step+1, len(p.Stages))}
	}
	if left := e.Since.Add(p.Stages[e.Step].For).Sub(now); left > 0 {
		return Decision{Why: fmt.Sprintf("stage %d of %d lasts %s more", e.Step+1, len(p.Stages), left.Round(time.Second))}
	}
	if ev.Pairs < p.MinLabels {
		return Decision{Why: fmt.Sprintf("%d labelled samples in closed slots, %d wanted: waiting for labels", ev.Pairs, p.MinLabels)}
	}
	if ev.Until.Add(-p.Slot).Before(e.Since) {
		return Decision{Why: "no slot that began in this stage is closed yet: waiting for its labels"}
	}
	why := fmt.Sprintf("no harm shown: %+.1f points of error (%+.1f to %+.1f) on %d labelled samples", 100*ev.Difference, 100*ev.Lower, 100*ev.Upper, ev.Pairs)
	if next := e.Step + 1; next < len(p.Stages) {
		return Decision{Move: Advance, Stage: p.Stages[next], Step: next, Why: why}
	}
	return Decision{Move: Promote, Why: why}
}

// Fresh decides on a champion that replaced another less than Watch ago. Slots
// that begin within the watch count, even when their labels come later.
func (p Plan) Fresh(c dg.Champion, ev Evidence, now time.Time) Decision {
	switch {
	case !p.Watches(c, now):
		return Decision{Why: "no fresh champion is watched"}
	case ev.harmful():
		return Decision{Move: Rollback, Why: "the fresh champion does harm: " + ev.harm(p)}
	}
	return Decision{Why: fmt.Sprintf("the fresh champion is watched until %s: %d labelled samples, evidence of harm %.2g of %.0f",
		c.PromotedAt.Add(p.Watch).UTC().Format(dg.TimeFormat), ev.Pairs, ev.Worse, ev.Threshold)}
}

// Watches reports whether c is watched at now: it replaced another champion,
// not by a rollback, and slots of its watch may still close.
func (p Plan) Watches(c dg.Champion, now time.Time) bool {
	return p.Watch > 0 && c.Previous != "" && !c.RolledBack() && now.Before(p.lastClose(c.PromotedAt))
}

// lastClose is when the last slot of a watch that began then closes, with a
// slot to spare.
func (p Plan) lastClose(began time.Time) time.Time { return began.Add(p.Watch + 2*p.Slot + p.Grace) }

// Status is what is tried or watched now, on what evidence, and what
// follows from it.
type Status struct {
	Champion dg.Champion   `json:"champion"`
	Exposure dg.Exposure   `json:"exposure"`          // without challenger: nothing is exposed
	Subject  dg.ModelRef   `json:"subject,omitempty"` // that is watched: the challenger, or a fresh champion
	Against  dg.ModelRef   `json:"against,omitempty"`
	Evidence Evidence      `json:"evidence"`
	Accuracy []dg.Estimate `json:"accuracy,omitempty"` // the exposed challenger's own, on what it answered since it was exposed
	Decision
	Closed int `json:"closed,omitempty"` // slots that this run closed
}

// maxJoined is how many slots are judged together at most, when the first have
// too few labels to be weighed.
const maxJoined = 8

// Due returns the spans that may be closed next: from where the closed slots
// end (or the first slot that lies wholly after began) to the end of one slot,
// of two, and so on. The first span that has blocks is closed, and when there
// are maxJoined of them and none has, the longest. Only slots that begin before
// last count; zero last is no limit.
func (p Plan) Due(began time.Time, closed []Slot, last, now time.Time) []dg.Interval {
	start := dg.Slot(began, p.Slot).Start
	if start.Before(began) {
		start = start.Add(p.Slot)
	}
	if n := len(closed); n > 0 {
		start = closed[n-1].Slot.End
	}
	var out []dg.Interval
	for n := 1; n <= maxJoined; n++ {
		iv := dg.Interval{Start: start, End: start.Add(time.Duration(n) * p.Slot)}
		if iv.End.Add(p.Grace).After(now) || (!last.IsZero() && !iv.End.Add(-p.Slot).Before(last)) {
			break
		}
		out = append(out, iv)
	}
	return out
}

// Settled reports whether the longest of the due spans is to be closed even
// without blocks, so that a time without labels does not grow for ever.
func Settled(due []dg.Interval) bool { return len(due) == maxJoined }
