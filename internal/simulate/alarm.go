package simulate

import (
	"strconv"
	"sync"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// epoch is when every deployment begins; nothing depends on it.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// ids name the picks. They only must differ within a slot, and be others in the
// next one: their hash deals the picks to blocks.
var ids = sync.OnceValue(func() []string {
	out := make([]string, 1<<16)
	for i := range out {
		out[i] = strconv.Itoa(i)
	}
	return out
})

// slots cuts a deployment's intervals into the slots of the alarm. Alarms that
// watch the same deployment share it.
type slots struct {
	o         Options
	intervals int // seen so far
	slot      estimate.Slot
	picks     []estimate.Pick // behind the slot's strata
	id        int
	errors    []float64 // of the slot that the last interval closed, once somebody asked
	dealt     bool
}

func newSlots(o Options) *slots {
	return &slots{o: o, slot: estimate.Slot{Start: epoch, Length: o.Slot}}
}

// add takes an interval; whatever add closed before is forgotten.
func (s *slots) add(b batch) {
	if s.closed() {
		s.slot.Start, s.slot.Strata, s.picks = s.slot.Start.Add(s.o.Slot), s.slot.Strata[:0], s.picks[:0]
	}
	s.dealt = false
	s.intervals++
	for _, c := range [...]cell{b.low, b.rest} {
		if c.predictions == 0 {
			continue
		}
		first := len(s.picks)
		for i := range c.picked {
			p := estimate.Pick{ID: ids()[s.id%len(ids())]}
			if i < c.wrong { // first, for the deal shuffles them
				p.Loss = 1
			}
			s.id++
			s.picks = append(s.picks, p)
		}
		s.slot.Strata = append(s.slot.Strata, estimate.SlotStratum{Predictions: c.predictions, Picks: s.picks[first:len(s.picks):len(s.picks)]})
	}
}

// closed says whether the last interval closed a slot.
func (s *slots) closed() bool {
	return s.intervals > 0 && s.intervals%int(s.o.Slot/s.o.Interval) == 0
}

// losses are the weighted errors of the closed slot's blocks.
func (s *slots) losses() []float64 {
	if !s.dealt {
		s.errors, s.dealt = s.slot.Errors(), true
	}
	return s.errors
}

// alarm is driftgate's, from slots to crossing. After a crossing it begins anew,
// as it does when it fires in production.
type alarm struct {
	slots    *slots
	counts   []dg.StratumCount // of the reference
	labels   int               // behind it
	detector estimate.Detector // P0 0 until the reference is complete
	state    estimate.State
}

// newAlarm makes an alarm that knows p0, or with p0 of 0 one that takes it from
// the first labels.
func newAlarm(s *slots, p0 float64) *alarm {
	return &alarm{slots: s, detector: estimate.Detector{P0: p0, ThresholdYears: s.o.Years}}
}

func (a *alarm) ready() bool { return a.detector.P0 > 0 }

// observe counts on its slots having seen the interval already.
func (a *alarm) observe(b batch) (raised, firing bool) {
	if !a.ready() {
		a.refer(b)
		return false, false
	}
	if !a.slots.closed() {
		return false, false
	}
	next, result, err := a.detector.Bet(a.state, a.slots.slot.Start, a.slots.o.Slot, a.slots.losses())
	if err != nil { // Validate has made sure that it can't be
		panic(err)
	}
	if a.state = next; result.Crossed {
		a.state = estimate.State{}
	}
	return result.Crossed, result.Crossed
}

// refer counts for the reference, and completes it when a slot closes with
// labels enough.
func (a *alarm) refer(b batch) {
	o, interval := a.slots.o, epoch.Add(time.Duration(a.slots.intervals-1)*a.slots.o.Interval)
	for _, h := range [...]struct {
		reason dg.Stratum
		cell
	}{{dg.LowConfidence, b.low}, {dg.Random, b.rest}} {
		if h.predictions == 0 || b.low.labelled+b.rest.labelled == 0 { // as the gateway: an interval without any label is no part of it
			continue
		}
		a.labels += h.labelled
		a.counts = append(a.counts, dg.StratumCount{Stratum: h.reason, Interval: interval,
			Predictions: h.predictions, Selected: h.picked, Labels: h.labelled, Correct: h.labelled - h.wrong})
	}
	if !a.slots.closed() || a.labels < o.ReferenceLabels {
		return
	}
	upper, ok := estimate.Reference(a.counts)
	if p0 := upper + o.Tolerance; ok && p0 < 1 {
		a.detector.P0, a.counts = p0, nil
	}
}
