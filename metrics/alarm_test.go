package metrics

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

// watched is a world with an alarm that is quick to reach.
func watched(t testing.TB, more ...func(*AlarmOptions)) *world {
	o := AlarmOptions{ThresholdYears: 1, Tolerance: .02, ReferenceLabels: 100, SlotLength: time.Hour, LabelGrace: 2 * time.Hour}
	for _, f := range more {
		f(&o)
	}
	w := newWorld(t, Options{Alarm: o})
	w.metrics.SetChampion(champion(refA, noon), nil)
	return w
}

// hours fills whole slots from hour on: 60 predictions, 40 picked and
// labelled, wrong of them wrong.
func (w *world) hours(version dg.ModelRef, from, to, wrong int) {
	w.t.Helper()
	for h := from; h < to; h++ {
		at := noon.Add(time.Duration(h)*time.Hour + 30*time.Minute)
		w.fill(batch{version: version, stratum: dg.Random, at: at, interval: dg.Slot(at, time.Hour).Start, n: 60, m: 40, k: 40 - wrong})
	}
}

func (w *world) advance() []AlarmEvent {
	w.t.Helper()
	events, err := w.metrics.Advance(w.t.Context())
	must(w.t, err)
	return events
}

func (w *world) status() AlarmStatus {
	w.t.Helper()
	s, err := w.metrics.Refresh(w.t.Context())
	must(w.t, err)
	return s.Alarm
}

func (w *world) hour(h int) { w.now = noon.Add(time.Duration(h) * time.Hour) }

func TestTheAlarmCollectsItsReferenceThenFiresOnDriftAndEndsWithPromotion(t *testing.T) {
	sequential(t)
	w := watched(t)
	ctx := t.Context()
	w.hours(refA, 0, 2, 4)
	w.now = noon.Add(3*time.Hour - time.Second)
	if e := w.advance(); len(e) != 0 || w.status().Slots != 0 {
		t.Errorf("before 15:00 nothing is due: %+v", w.status())
	}
	w.hour(4)
	w.advance()
	if s := w.status(); s.Slots != 2 || s.ReferenceLabels != 80 || s.Watching || s.Text != "collecting the reference: 80 of 100 labels" {
		t.Errorf("two slots due: %+v", s)
	}
	w.hours(refA, 2, 6, 4)
	w.hour(8)
	w.advance()
	want, _ := estimate.Reference([]dg.StratumCount{{Predictions: 60, Labels: 40, Correct: 36}, {Predictions: 60, Labels: 40, Correct: 36}, {Predictions: 60, Labels: 40, Correct: 36}})
	s := w.status()
	if !s.Watching || s.ReferenceLabels != 120 || !near(s.ReferenceError, want, .02) || s.P0 != s.ReferenceError+.02 || s.State != estimate.Quiet || s.Slots != 6 {
		t.Errorf("reference of the first three slots: %+v, want an error bound near %g", s, want)
	}
	if v := gather(t, w.metrics)[`driftgate_reference_accuracy_ratio{model="garments",model_version="aaaaaaaaaaaa"}`]; v != 1-s.ReferenceError {
		t.Errorf("exported reference %g, want %g", v, 1-s.ReferenceError)
	}
	drift := 6
	w.hours(refA, drift, 12, 24)
	w.hour(14)
	events := w.advance()
	if len(events) != 1 || events[0].State != estimate.Firing || events[0].ModelVersion != refA.Short() || !events[0].At.Equal(w.now) {
		t.Fatalf("events %+v, want firing", events)
	}
	if on := noon.Add(time.Duration(drift) * time.Hour); !events[0].Since.Equal(on) {
		t.Errorf("onset %s, want %s", events[0].Since, on)
	}
	if s := w.status(); s.State != estimate.Firing || gather(t, w.metrics)[`driftgate_accuracy_alarm_state{model="garments"}`] != 2 {
		t.Errorf("status %+v", s)
	}
	if again := w.advance(); len(again) != 0 {
		t.Errorf("the same alarm twice: %+v", again)
	}
	w.metrics.SetChampion(champion(refB, w.now), nil)
	if s := w.status(); s.State != estimate.Quiet || s.Watching || s.Slots != 0 {
		t.Errorf("status of the new champion %+v", s)
	}
	resolved := w.advance()
	if len(resolved) != 1 || resolved[0].State != estimate.Resolved || resolved[0].ModelVersion != refA.Short() || !resolved[0].Since.Equal(events[0].Since) {
		t.Errorf("after promotion %+v, want the old champion's alarm resolved", resolved)
	}
	w.hours(refB, 14, 20, 2)
	w.hour(22)
	if e := w.advance(); len(e) != 0 {
		t.Errorf("the new champion is fine: %+v", e)
	}
	if r, err := w.metrics.Replay(ctx, dg.Interval{}); err != nil || r.Slots != 18 {
		t.Errorf("replay %d slots, %v; want 18", r.Slots, err)
	}
	var kinds []string
	marks, err := w.ledger.Events(ctx, dg.Interval{Start: noon, End: noon.Add(100 * time.Hour)})
	must(t, err)
	for _, m := range marks {
		kinds = append(kinds, m.Kind)
	}
	if got := strings.Join(kinds, " "); got != "reference alarm_firing alarm_resolved reference" {
		t.Errorf("marks on the chart: %s", got)
	}
}

// A process that dies anywhere must come back to the same decision, neither
// skipping a slot nor taking it twice.
func TestARestartNeitherSkipsNorRepeatsASlot(t *testing.T) {
	sequential(t)
	run := func(restarts bool) (AlarmStatus, []AlarmEvent) {
		w := watched(t)
		w.hours(refA, 0, 4, 4)
		w.hours(refA, 4, 9, 24)
		seen := map[string]bool{}
		var events []AlarmEvent
		for h := range 15 {
			w.hour(h)
			if restarts {
				w.metrics = New(w.metrics.o, w.ledger)
				w.metrics.SetChampion(champion(refA, noon), nil)
				dying, cancel := context.WithCancel(t.Context())
				cancel()
				if _, err := w.metrics.Advance(dying); err == nil && h > 2 {
					t.Error("a dying process advanced")
				}
			}
			for _, e := range w.advance() {
				if key := fmt.Sprint(e.State, e.At, e.ModelVersion); !seen[key] {
					seen[key] = true
					events = append(events, e)
				}
			}
		}
		if r, err := w.metrics.Replay(t.Context(), dg.Interval{}); err != nil || r.Slots != 9 {
			t.Errorf("replay: %d, %v", r.Slots, err)
		}
		return w.status(), events
	}
	want, wantEvents := run(false)
	got, gotEvents := run(true)
	if got != want || !slices.Equal(gotEvents, wantEvents) || len(wantEvents) == 0 {
		t.Errorf("with restarts %+v %+v\nwithout %+v %+v", got, gotEvents, want, wantEvents)
	}
}

func TestTheLastEventIsHandedOutAgainAfterARestart(t *testing.T) {
	sequential(t)
	w := watched(t)
	w.hours(refA, 0, 3, 4)
	w.hours(refA, 3, 10, 24)
	w.hour(12)
	first := w.advance()
	w.metrics = New(w.metrics.o, w.ledger)
	if e := w.advance(); len(e) != 0 {
		t.Errorf("without a champion %+v", e)
	}
	w.metrics.SetChampion(champion(refA, noon), nil)
	if again := w.advance(); len(first) != 1 || !slices.Equal(first, again) {
		t.Errorf("before %+v, after %+v", first, again)
	}
	if e := w.advance(); len(e) != 0 {
		t.Errorf("and again %+v", e)
	}
}

func TestLateLabelsNeverReopenASlotAndMissingOnesCountAsCorrect(t *testing.T) {
	sequential(t)
	w := watched(t)
	w.hours(refA, 0, 3, 4)
	at := noon.Add(3*time.Hour + time.Minute)
	w.fill(batch{version: refA, stratum: dg.Random, at: at, interval: at, n: 60, picked: 40})
	w.hour(6)
	w.advance()
	before := w.status()
	picks, err := w.ledger.Picks(t.Context(), refA.Short(), dg.Interval{Start: at, End: at.Add(1)})
	must(t, err)
	if len(picks) != 40 || before.Slots != 4 || before.Evidence >= 1e-3 {
		t.Fatalf("%d picks, %+v: want a quiet fourth slot", len(picks), before)
	}
	for _, p := range picks {
		must(t, w.ledger.Collected(t.Context(), ledger.Answer{ID: p.ID, Label: "Coat", At: w.now}))
	}
	w.hour(9)
	w.advance()
	if after := w.status(); after != before {
		t.Errorf("forty wrong labels came late: %+v, want %+v", after, before)
	}
	if r, err := w.metrics.Replay(t.Context(), dg.Interval{}); err != nil || r.Slots != 4 {
		t.Errorf("replay: %d, %v", r.Slots, err)
	}
}

func TestMonthsWithoutTrafficAreJumpedOver(t *testing.T) {
	w := watched(t, func(o *AlarmOptions) { o.SlotLength = time.Minute })
	w.hours(refA, 0, 1, 4)
	w.hours(refA, 24*365*10, 24*365*10+1, 4) // five million empty slots
	w.hour(24*365*10 + 5)
	began := time.Now()
	w.advance()
	if took := time.Since(began); took > 2*time.Second || w.status().Slots != 2 {
		t.Errorf("%s for %d slots, want two slots at once", took, w.status().Slots)
	}
}

func TestAFiringAlarmResolvesAfterItsHold(t *testing.T) {
	sequential(t)
	w := watched(t, func(o *AlarmOptions) { o.ResolveHold = 5 * time.Hour })
	w.hours(refA, 0, 3, 4)
	w.hours(refA, 3, 7, 24)
	w.hours(refA, 7, 14, 0)
	w.hour(16)
	var states []string
	for _, e := range w.advance() {
		states = append(states, string(e.State))
	}
	if got := strings.Join(states, " "); got != "firing resolved" || w.status().State != estimate.Quiet {
		t.Errorf("%s, then %s", got, w.status().State)
	}
}

func TestASlotOfAnotherLengthOverlapsNothing(t *testing.T) {
	sequential(t)
	w := watched(t)
	w.hours(refA, 0, 12, 4)
	w.hour(7)
	w.advance()
	o := w.metrics.o
	o.Alarm.SlotLength = 3 * time.Hour // 12:00 to 15:00, 15:00 to 18:00: the hours 0 to 4 are closed
	w.metrics = New(o, w.ledger)
	w.metrics.SetChampion(champion(refA, noon), nil)
	w.hour(20)
	w.advance()
	slots, err := ledger.All(w.ledger.AlarmSlots(t.Context(), "garments", dg.Interval{}))
	must(t, err)
	for i := 1; i < len(slots); i++ {
		if slots[i].Slot.Start.Before(slots[i-1].Slot.End) {
			t.Errorf("%s overlaps %s", slots[i].Slot, slots[i-1].Slot)
		}
	}
	if r, err := w.metrics.Replay(t.Context(), dg.Interval{}); err != nil || r.Slots != len(slots) || r.Slots != 5+3 {
		t.Errorf("replay %d of %d, %v", r.Slots, len(slots), err)
	}
}

func TestReplayFindsAChangedSlot(t *testing.T) {
	sequential(t)
	w := watched(t)
	w.hours(refA, 0, 5, 4)
	w.hour(10)
	w.advance()
	slots, err := ledger.All(w.ledger.AlarmSlots(t.Context(), "garments", dg.Interval{}))
	must(t, err)
	forged := slots[len(slots)-1]
	forged.Slot = dg.Interval{Start: forged.Slot.End, End: forged.Slot.End.Add(time.Hour)}
	must(t, w.ledger.CloseSlot(t.Context(), forged)) // the fifth slot's result under the sixth's name
	if r, err := w.metrics.Replay(t.Context(), dg.Interval{}); !errors.Is(err, dg.ErrConflict) || r.Slots != 5 {
		t.Errorf("replay: %d, %v; want the sixth refused", r.Slots, err)
	}
}

// deployment simulates slots of a champion through the pure step: n predictions
// a slot, all of the low-confidence fifth and ten others labelled. It returns
// the first slot in which the alarm fires, or -1.
func deployment(rng *rand.Rand, slots int, o AlarmOptions, errorRate func(slot int) float64) int {
	var mem memory
	id := 0
	for s := range slots {
		e := errorRate(s)
		start := noon.Add(time.Duration(s) * o.SlotLength)
		in := slotInputs{Rules: slotRules, ModelVersion: "v", Slot: dg.Interval{Start: start, End: start.Add(o.SlotLength)}, ClosedAt: start, Options: o}
		for _, h := range []struct {
			stratum dg.Stratum
			n, m    int
			p       float64
		}{{dg.LowConfidence, 20, 20, 3 * e}, {dg.Random, 80, 10, e / 2}} {
			st := slotStratum{Stratum: h.stratum, Interval: start, Predictions: h.n, Labels: h.m}
			for range h.m {
				id++
				wrong := rng.Float64() < h.p
				if !wrong {
					st.Correct++
				}
				st.Picks = append(st.Picks, slotPick{ID: strconv.Itoa(id), Wrong: wrong})
			}
			in.Strata = append(in.Strata, st)
		}
		next, out, err := mem.next(in)
		if err != nil {
			panic(err)
		}
		mem = next
		for _, ev := range out.Events {
			if ev.State == estimate.Firing {
				return s
			}
		}
	}
	return -1
}

// The promise on the page: within y years at most y/threshold quiet
// deployments see a false alarm, plus 2.5% for an unlucky reference; and a drop
// of fifteen points is found within days. A cheap sample by default, a thousand
// deployments with DRIFTGATE_LONG.
func TestQuietDeploymentsStayQuietAndDropsAreFound(t *testing.T) {
	sequential(t)
	o := AlarmOptions{ThresholdYears: .5, ReferenceLabels: 300, SlotLength: 6 * time.Hour}.withDefaults()
	const slots = 4 * 30
	runs, drops := 60, 20
	if os.Getenv("DRIFTGATE_LONG") != "" {
		runs, drops = 1000, 200
	}
	rng := rand.New(rand.NewPCG(2026, 3))
	fired := 0
	for range runs {
		if deployment(rng, slots, o, func(int) float64 { return .10 }) >= 0 {
			fired++
		}
	}
	years := float64(slots) * o.SlotLength.Hours() / estimate.Year.Hours()
	p := years/o.ThresholdYears + .025
	if limit := p + 3*math.Sqrt(p*(1-p)/float64(runs)); float64(fired)/float64(runs) > limit {
		t.Errorf("%d of %d quiet deployments fired within %.3f years, promised at most %.3f of them", fired, runs, years, p)
	}
	var delays []int
	for range drops {
		at := deployment(rng, slots, o, func(s int) float64 {
			if s < slots/2 {
				return .10
			}
			return .25
		})
		if at >= 0 && at < slots/2 {
			continue
		}
		delays = append(delays, map[bool]int{true: slots, false: at}[at < 0]-slots/2)
	}
	slices.Sort(delays)
	median := float64(delays[len(delays)/2]) / 4
	t.Logf("false alarms %d of %d; median delay %.1f days for fifteen points", fired, runs, median)
	if median > 5 {
		t.Errorf("median delay %.1f days for fifteen points, want at most 5", median)
	}
}
