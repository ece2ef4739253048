package simulate

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"driftgate/internal/estimate"
)

// answers makes n of them, wrong with chance p.
func answers(rng *rand.Rand, n int, p float64) []bool {
	out := make([]bool, n)
	for i := range out {
		out[i] = rng.Float64() < p
	}
	return out
}

func TestADWINRemembersTheNewestAnswers(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	a := newADWIN()
	var all []bool
	for step := range 300 {
		more := answers(rng, 20+rng.IntN(60), []float64{.1, .1, .4, .05}[step/75])
		all = append(all, more...)
		a.observe(batch{answers: more})
		var n, sum float64
		for i, row := range a.rows {
			if len(row) > adwinBuckets {
				t.Fatalf("%d buckets of 2^%d answers", len(row), i)
			}
			n += float64(len(row) * int(1<<i))
			for _, s := range row {
				sum += s
			}
		}
		want := 0.0
		for _, wrong := range all[len(all)-int(a.n):] {
			if wrong {
				want++
			}
		}
		if n != a.n || sum != a.sum || sum != want {
			t.Fatalf("step %d: %g answers with %g errors in buckets, %g with %g kept, %g errors among the newest so many", step, n, sum, a.n, a.sum, want)
		}
	}
	if a.n > 8000 {
		t.Errorf("window of %g answers a quarter of %d after the last change", a.n, len(all))
	}
}

func TestADWINNoticesARiseOnly(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 1))
	a := newADWIN()
	if raised, _ := a.observe(batch{answers: answers(rng, 5000, .1)}); raised {
		t.Error("alarm without a change")
	}
	if raised, _ := a.observe(batch{answers: answers(rng, 1000, .3)}); !raised {
		t.Error("no alarm at three times the error")
	}
	if raised, _ := a.observe(batch{answers: answers(rng, 5000, .05)}); raised {
		t.Error("alarm when the error fell")
	}
	if a.n > 7000 {
		t.Errorf("%g answers kept after the error fell: want the old ones forgotten", a.n)
	}
}

// TestADWINCut puts one cut beside the paper's arithmetic.
func TestADWINCut(t *testing.T) {
	for _, tt := range []struct {
		before, after int // errors of 64 each
		want          bool
	}{{6, 10, false}, {6, 30, false}, {6, 45, true}, {45, 6, true}} {
		a := newADWIN()
		for _, errors := range []int{tt.before, tt.after} {
			for i := range 64 {
				a.add(i*errors/64 != (i+1)*errors/64)
			}
		}
		p := float64(tt.before+tt.after) / 128
		log := math.Log(2 * math.Log(128) / .002)
		epsilon := math.Sqrt(2.*(2./64)*p*(1-p)*log) + 2./3*(2./64)*log
		// Elsewhere there may be a better cut than the middle; not in these cases.
		middle := math.Abs(float64(tt.after-tt.before))/64 > epsilon
		if middle != tt.want {
			t.Fatalf("%d and %d errors: the case itself is wrong, epsilon %.3f", tt.before, tt.after, epsilon)
		}
		if found, up := a.significant(); found != tt.want || (found && up != (tt.after > tt.before)) {
			t.Errorf("%d and %d errors: found %v, up %v, want %v", tt.before, tt.after, found, up, tt.want)
		}
	}
}

func TestDDMByHand(t *testing.T) {
	d := newDDM()
	// p + s is least before the fourth error of 40: p = 3/39; then errors only.
	for i := range 40 {
		if d.add(i%10 == 9) {
			t.Fatalf("drift at answer %d", i+1)
		}
	}
	if math.Abs(d.pMin-3./39) > 1e-12 || math.Abs(d.sMin-math.Sqrt(3./39*36/39/39)) > 1e-12 {
		t.Fatalf("least %g and %g", d.pMin, d.sMin)
	}
	limit := d.pMin + 3*d.sMin // .2049
	for n := 41; ; n++ {
		p := float64(4+n-40) / float64(n)
		want := p+math.Sqrt(p*(1-p)/float64(n)) > limit
		if got := d.add(true); got != want {
			t.Fatalf("answer %d: drift %v, want %v", n, got, want)
		}
		if want {
			if n != 43 {
				t.Errorf("drift at answer %d, by hand 43", n)
			}
			return
		}
	}
}

func TestAlertsLookAtTheLastDay(t *testing.T) {
	o := usual().withDefaults()
	good := batch{low: cell{10, 10, 10, 3}, rest: cell{90, 5, 5, 0}}
	bad := batch{low: cell{10, 10, 10, 9}, rest: cell{90, 5, 5, 2}}
	th, wi := newThreshold(o), newWilson(o, 5)
	for n := range 48 {
		if raised, _ := th.observe(good); raised {
			t.Fatalf("threshold: alarm at good interval %d", n)
		}
		wi.observe(good)
	}
	if a, labels := th.weighted(); math.Abs(a-.97) > 1e-12 || labels != 48*15 {
		t.Errorf("weighted %g of %d labels, want .97 of 720", a, labels)
	}
	first := -1
	for n := range 48 {
		raised, firing := th.observe(bad)
		if raised && first >= 0 {
			t.Error("one episode raised twice")
		}
		if raised {
			first = n
		}
		if firing != (first >= 0) {
			t.Errorf("interval %d: firing %v", n, firing)
		}
	}
	// Bad intervals are right in .1*.1 + .9*.6 = .55, so (97*(48-n) + 55n)/48 < 85 from n = 14 on.
	if first != 13 {
		t.Errorf("threshold: alarm at bad interval %d, by hand the 14th", first+1)
	}
	low, rest, _ := o.errorRates(0)
	share := 1 - (500*low+240*rest)/740
	if math.Abs(wi.share-share) > 1e-12 {
		t.Errorf("wilson compares with %g, want %g", wi.share, share)
	}
	labels, right := 48*15, 48*(1+3)
	if _, upper := estimate.Wilson(right, labels, .95); upper >= share {
		t.Fatal("the case itself is wrong")
	}
	var firing bool
	for range 48 {
		_, firing = wi.observe(bad)
	}
	if !firing {
		t.Error("wilson: silent after a bad day")
	}
}

func TestAlertsAreSilentWithFewLabels(t *testing.T) {
	o := usual().withDefaults()
	th, wi := newThreshold(o), newWilson(o, 5)
	for range 29 {
		b := batch{rest: cell{100, 1, 1, 1}}
		if raised, _ := th.observe(b); raised {
			t.Error("threshold: alarm on fewer than 30 labels")
		}
		if raised, _ := wi.observe(b); raised {
			t.Error("wilson: alarm on fewer than 30 labels")
		}
	}
}

// TestAlarmIsTheDetector feeds the shared slots and the detector by hand.
func TestAlarmIsTheDetector(t *testing.T) {
	o := usual().withDefaults()
	s := newStream(o, 5, source(5, 0, 0, 0))
	shared := newSlots(o)
	a := newAlarm(shared, .12)
	d := estimate.Detector{P0: .12, ThresholdYears: o.Years}
	var state estimate.State
	alarms := 0
	for n := range 48 * 60 {
		if n == 48*30 {
			s.drop(.2)
		}
		b := s.next()
		shared.add(b)
		raised, _ := a.observe(b)
		if n%12 != 11 {
			if raised {
				t.Fatal("alarm within a slot")
			}
			continue
		}
		slot := estimate.Slot{Start: epoch.Add(time.Duration(n/12) * o.Slot), Length: o.Slot, Strata: shared.slot.Strata}
		if len(slot.Strata) != 24 || !slot.Start.Equal(shared.slot.Start) {
			t.Fatalf("slot at %s with %d strata", slot.Start, len(slot.Strata))
		}
		next, r, err := d.Step(state, slot)
		if err != nil {
			t.Fatal(err)
		}
		if state = next; r.Crossed {
			state = estimate.State{}
			alarms++
		}
		if r.Crossed != raised || r.Blocks == 0 || a.state.Evidence() != state.Evidence() {
			t.Fatalf("interval %d: raised %v, by hand %v of %d blocks", n, raised, r.Crossed, r.Blocks)
		}
	}
	if alarms == 0 {
		t.Error("a drop of 20 points went by unnoticed")
	}
}

// As in the gateway, the time before anybody labels is no part of the reference.
func TestIntervalsWithoutLabelsAreNoPartOfTheReference(t *testing.T) {
	o := usual().withDefaults()
	shared := newSlots(o)
	a := newAlarm(shared, 0)
	silent := batch{low: cell{10, 10, 0, 0}, rest: cell{90, 5, 0, 0}}
	good := batch{low: cell{10, 10, 10, 3}, rest: cell{90, 5, 5, 0}}
	for n := range 48 * 40 {
		b := silent
		if n >= 48*30+5 { // in the middle of a slot
			b = good
		}
		shared.add(b)
		a.observe(b)
	}
	if p0 := a.detector.P0 - o.Tolerance; !a.ready() || p0 < .03 || p0 > .06 {
		t.Errorf("reference of %d labels: error at most %.3f, want a little above .03", a.labels, p0)
	}
}
