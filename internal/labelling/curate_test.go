package labelling

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
)

func TestGoldenCase(t *testing.T) {
	w := golden(t)
	r := w.curate(halfHour, false)
	if r.SelectedTotal() != 9 || r.Noisy != 7 || r.Candidates != 16 || r.Placed != 16 || r.Late != 0 || len(r.Missing) != 0 {
		t.Errorf("report %+v", r)
	}
	w.checkGolden()
	if s := w.record("old.png"); s.State != ledger.New {
		t.Errorf("the image 31 minutes old is %s", s.State)
	}
	_, obj, err := w.store.Get(t.Context(), w.buckets.Waiting, "class_03/low.png")
	if err != nil || obj.ContentType != "image/png" {
		t.Errorf("content type %q: %v", obj.ContentType, err)
	}
}

func TestGoldenCaseRunTwice(t *testing.T) {
	w := golden(t)
	w.curate(halfHour, false)
	picked := ids(w.list(w.buckets.Waiting))
	if r := w.curate(halfHour, false); r.SelectedTotal() != 0 || r.Noisy != 0 || r.Placed != 0 {
		t.Errorf("the second run did %+v", r)
	}
	w.checkGolden()
	if again := ids(w.list(w.buckets.Waiting)); !slices.Equal(again, picked) {
		t.Errorf("picked %v, then %v", picked, again)
	}
	// The same world elsewhere picks the same: the draw hangs on the interval.
	other := golden(t)
	other.curate(halfHour, false)
	if got := ids(other.list(other.buckets.Waiting)); !slices.Equal(got, picked) {
		t.Errorf("picked %v, elsewhere %v", picked, got)
	}
}

func TestGoldenCaseOverlappingWindows(t *testing.T) {
	w := golden(t)
	w.curate(halfHour, false)
	later := dg.Interval{Start: halfHour.Start.Add(10 * time.Minute), End: halfHour.End.Add(10 * time.Minute)}
	if r := w.curate(later, false); r.SelectedTotal() != 0 || r.Candidates != 0 {
		t.Errorf("the overlapping run did %+v", r)
	}
	w.checkGolden()
	// What is labelled is never asked again, by whatever window.
	w.answer("low.png", "Bag")
	w.collect()
	w.curate(dg.Interval{Start: noon.Add(-29 * time.Minute), End: noon.Add(time.Minute)}, true)
	if _, asked := w.list(w.buckets.Waiting)["class_03/low.png"]; asked || w.record("low.png").State != ledger.Labelled {
		t.Error("a labelled image is asked about again")
	}
}

func TestGoldenCaseCrashAtEveryPoint(t *testing.T) {
	points := 0
	for _, after := range crashModes() {
		for good := 0; ; good++ {
			w := golden(t)
			s, f := w.crashing(good, after)
			_, err := s.Curate(t.Context(), halfHour, false)
			if !f.hit {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			if !errors.Is(err, errCrash) {
				t.Fatalf("crash after %d changes was not reported: %v", good, err)
			}
			points++
			w.curate(halfHour, false)
			w.checkGolden()
			if t.Failed() {
				t.Fatalf("after a crash at change %d (carried out: %t)", good, after)
			}
		}
	}
	if points != len(crashModes())*19 { // decide, 16 copies, one bulk delete, placed
		t.Errorf("%d crash points", points)
	}
}

func TestCrashByCancelledContextIsRepaired(t *testing.T) {
	w := golden(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.service().Curate(ctx, halfHour, false); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	w.curate(halfHour, false)
	w.checkGolden()
}

func TestLateArrivalIsCuratedByTheNextScheduledRun(t *testing.T) {
	w := golden(t)
	w.curate(halfHour, true) // takes old.png as a group of its own
	old := w.record("old.png")
	if old.State != ledger.Waiting || old.SamplingFraction != 1 || !old.Interval.Equal(halfHour.Start.Add(-30*time.Minute)) {
		t.Errorf("old.png is %+v", old)
	}
	tags := sampleTags("0.950", 12)
	w.tell("class_03/notcomplete.png", tags) // its writer has tagged it since
	if err := w.store.UpdateTags(t.Context(), w.buckets.Production, "class_03/notcomplete.png", func(m map[string]string) error { maps.Copy(m, tags); return nil }); err != nil {
		t.Fatal(err)
	}
	next := dg.Interval{Start: noon, End: noon.Add(30 * time.Minute)}
	if r := w.curate(next, false); r.SelectedTotal() != 0 {
		t.Errorf("a person's run took a late one: %+v", r)
	}
	if r := w.curate(next, true); r.Late != 1 || r.Selected[dg.Random] != 1 {
		t.Errorf("report %+v", r)
	}
	if got := w.record("notcomplete.png"); got.State != ledger.Waiting || !got.Interval.Equal(halfHour.Start) {
		t.Errorf("the late one is %+v", got)
	}
}

func TestLateFlagBecomesATask(t *testing.T) {
	w := golden(t)
	w.curate(halfHour, true)
	unpicked := slices.Sorted(maps.Keys(w.list(w.buckets.Noisy)))
	w.tag(unpicked[0], dg.TagFlagged, "true")
	w.tag(unpicked[1], dg.TagCorrectedClass, "Bag")
	next := dg.Interval{Start: noon, End: noon.Add(30 * time.Minute)}
	if r := w.curate(next, false); r.LateFlags != 0 {
		t.Errorf("a person's run took late flags: %+v", r)
	}
	if r := w.curate(next, true); r.LateFlags != 2 || r.Selected[dg.Flagged] != 1 || r.Selected[dg.Corrected] != 1 {
		t.Errorf("report %+v", r)
	}
	waiting, noisy := w.list(w.buckets.Waiting), w.list(w.buckets.Noisy)
	for i, want := range []string{"flagged", "corrected"} {
		tags := waiting[unpicked[i]]
		if tags["stratum"] != want || tags["sampling_fraction"] != "1" {
			t.Errorf("%s has %v", unpicked[i], tags)
		}
		if _, both := noisy[unpicked[i]]; both {
			t.Errorf("%s is in noisy too", unpicked[i])
		}
	}
	if r := w.curate(next, true); r.SelectedTotal() != 0 {
		t.Errorf("asked twice: %+v", r)
	}
}

func TestWhatOthersPutInLabelWaitIsLeftAlone(t *testing.T) {
	w := golden(t)
	if err := w.store.Copy(t.Context(), w.buckets.Production, "class_03/low.png", w.buckets.Waiting, "class_03/low.png", nil); err != nil {
		t.Fatal(err)
	}
	r := w.curate(halfHour, false)
	if r.InWaiting != 1 || r.Selected[dg.LowConfidence] != 1 || w.record("low.png").State != ledger.New {
		t.Errorf("report %+v, low.png is %s", r, w.record("low.png").State)
	}
}

func TestImageGoneFromProductionDoesNotStopTheRun(t *testing.T) {
	w := golden(t)
	if err := w.store.Delete(t.Context(), w.buckets.Production, "class_03/low.png"); err != nil {
		t.Fatal(err)
	}
	r := w.curate(halfHour, false)
	if !slices.Equal(r.Missing, []string{"class_03/low.png"}) || r.Placed != 15 {
		t.Errorf("report %+v", r)
	}
	if p, err := w.ledger.Progress(t.Context(), ledger.Quorum{}); err != nil || p.Waiting != 8 {
		t.Errorf("%d tasks: %v", p.Waiting, err)
	}
}

func TestIntervalMustHaveAnInside(t *testing.T) {
	if _, err := newWorld(t).service().Curate(t.Context(), dg.Interval{Start: noon, End: noon}, false); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("error %v", err)
	}
}

func TestStratumOfFirstMatchWins(t *testing.T) {
	for _, tt := range []struct {
		name string
		s    dg.Sample
		want dg.Stratum
	}{
		{"low", dg.Sample{Confidence: 0.699}, dg.LowConfidence},
		{"rounded to the threshold is not low", dg.Sample{Confidence: 0.69951}, dg.Random},
		{"rounded below it is", dg.Sample{Confidence: 0.69949}, dg.LowConfidence},
		{"missing is not low", dg.Sample{Confidence: math.NaN()}, dg.Random},
		{"low before flagged", dg.Sample{Confidence: 0.1, Flagged: true, CorrectedClass: "Bag"}, dg.LowConfidence},
		{"flagged before corrected", dg.Sample{Confidence: 0.9, Flagged: true, CorrectedClass: "Bag"}, dg.Flagged},
		{"corrected", dg.Sample{Confidence: math.NaN(), CorrectedClass: "Bag"}, dg.Corrected},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := stratumOf(tt.s, 0.7); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// candidates are n random ones, one of them low, in the given order.
func candidates(n int) []ledger.Record {
	out := make([]ledger.Record, n)
	for i := range out {
		out[i].Key, out[i].Confidence, out[i].Timestamp = fmt.Sprintf("class_00/%04d", i), 0.9, noon
	}
	return out
}

func TestPlanDoesNotDependOnTheOrder(t *testing.T) {
	o := Options{Seed: 7}.withDefaults()
	forward := candidates(50)
	backward := slices.Clone(forward)
	slices.Reverse(backward)
	a, b := plan(forward, noon, o), plan(backward, noon, o)
	if !slices.Equal(a, b) {
		t.Error("plans differ")
	}
	if other := plan(forward, noon.Add(time.Hour), o); slices.EqualFunc(a, other, func(x, y ledger.Decision) bool { return x.ID == y.ID && x.Selected == y.Selected }) {
		t.Error("another interval picks the same")
	}
	o.Seed = 8
	if other := plan(forward, noon, o); slices.Equal(a, other) {
		t.Error("another seed picks the same")
	}
}

func TestEveryCandidateIsPickedEquallyOften(t *testing.T) {
	const n, runs = 12, 24_000
	picked := map[string]int{}
	for i := range runs {
		for _, d := range plan(candidates(n), noon.Add(time.Duration(i)*time.Minute), Options{}.withDefaults()) {
			if d.SamplingFraction != 5./n {
				t.Fatalf("fraction %g", d.SamplingFraction)
			}
			if d.Selected {
				picked[d.ID]++
			}
		}
	}
	const want = runs * 5. / n
	sd := math.Sqrt(want * (1 - 5./n))
	for id, k := range picked {
		if math.Abs(float64(k)-want) > 4.5*sd {
			t.Errorf("%s was picked %d times, want %.0f ± %.0f", id, k, want, sd)
		}
	}
	if len(picked) != n {
		t.Errorf("%d of %d were ever picked", len(picked), n)
	}
}

func TestCapsCutAtRandomAndSaySo(t *testing.T) {
	records := candidates(40)
	for i := range 20 {
		records[i].Confidence = 0.2
	}
	for _, tt := range []struct {
		name         string
		caps         map[dg.Stratum]int
		low, random  int
		lowF, randFr float64
	}{
		{"no cap", nil, 20, 5, 1, 0.25},
		{"low capped", map[dg.Stratum]int{dg.LowConfidence: 5}, 5, 5, 0.25, 0.25},
		{"cap above the number", map[dg.Stratum]int{dg.LowConfidence: 50}, 20, 5, 1, 0.25},
		{"random capped below its quota", map[dg.Stratum]int{dg.Random: 2}, 20, 2, 1, 0.1},
		{"random raised above its quota", map[dg.Stratum]int{dg.Random: 10}, 20, 10, 1, 0.5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			picks, first := map[dg.Stratum]int{}, 0
			for _, d := range plan(records, noon, Options{Caps: tt.caps}.withDefaults()) {
				want := map[dg.Stratum]float64{dg.LowConfidence: tt.lowF, dg.Random: tt.randFr}[d.Stratum]
				if d.SamplingFraction != want {
					t.Errorf("%s: fraction %g, want %g", d.ID, d.SamplingFraction, want)
				}
				if d.Selected {
					picks[d.Stratum]++
				}
				if d.Selected && d.ID < "0005" {
					first++
				}
			}
			if picks[dg.LowConfidence] != tt.low || picks[dg.Random] != tt.random {
				t.Errorf("picked %v", picks)
			}
			if tt.low == 5 && first == 5 {
				t.Error("the cap took the first five")
			}
		})
	}
}

func TestArrivalsGoToTheIntervalOfTheirTimestamp(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before time.Duration
		want   time.Time // zero: within
	}{
		{"at the start", 0, time.Time{}},
		{"a second before", time.Second, halfHour.Start.Add(-30 * time.Minute)},
		{"exactly one interval before", 30 * time.Minute, halfHour.Start.Add(-30 * time.Minute)},
		{"a little more", 30*time.Minute + time.Second, halfHour.Start.Add(-time.Hour)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := candidates(1)
			r[0].Timestamp = halfHour.Start.Add(-tt.before)
			within, late := arrivals(r, halfHour)
			if (len(within) == 1) != tt.want.IsZero() {
				t.Fatalf("within %v, late %v", within, late)
			}
			if !tt.want.IsZero() && len(late[tt.want]) != 1 {
				t.Errorf("late %v, want it under %s", late, tt.want)
			}
		})
	}
}

func TestThousandImagesAreCuratedInSeconds(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand images")
	}
	w := newWorld(t)
	samples := make([]dg.Sample, 1000)
	err := each(t.Context(), 32, samples, func(ctx context.Context, i int, _ dg.Sample) error {
		key, tags := fmt.Sprintf("class_03/%04d.png", i), sampleTags("0.950", 1+i%29)
		if i%5 == 0 {
			tags["confidence"] = "0.300"
		}
		if _, err := w.store.Put(ctx, w.buckets.Production, key, make([]byte, 600), objstore.PutOptions{Tags: tags}); err != nil {
			return err
		}
		s, err := dg.ParseSample(key, tags)
		samples[i] = s
		return err
	})
	if err == nil {
		err = w.ledger.Captured(t.Context(), samples...)
	}
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	r := w.curate(halfHour, true)
	took := time.Since(start)
	t.Logf("1,000 images in %s", took)
	if r.Placed != 1000 || r.Selected[dg.LowConfidence] != 200 || r.Selected[dg.Random] != 5 {
		t.Errorf("report %+v", r)
	}
	if took > 15*time.Second { // alone it takes about a second
		t.Errorf("took %s", took)
	}
	if waiting, noisy := w.list(w.buckets.Waiting), w.list(w.buckets.Noisy); len(waiting) != 205 || len(noisy) != 795 {
		t.Errorf("label-wait %d, noisy %d", len(waiting), len(noisy))
	}
}
