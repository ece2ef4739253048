package catalog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	dg "driftgate"
	"driftgate/internal/labelling"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
)

func TestForeignObjectsArePickedUpOnceTheyAreComplete(t *testing.T) {
	w := newWorld(t)
	reg := prometheus.NewRegistry()
	o := w.options()
	o.Registerer = reg
	c := New(w.store, w.ledger, w.buckets, o)
	p := w.buckets.Production
	w.put(p, "class_03/whole.jpg", old(5))
	w.put(p, "class_03/late.jpg", map[string]string{"predicted_class": "Dress"})
	w.put(p, "class_03/bare.jpg", nil)
	w.put(p, "class_03/badtime.jpg", old(5, "timestamp", "yesterday"))
	w.put(p, "class_03/badconfidence.jpg", old(5, "confidence", "high"))
	w.put(p, "readme.txt", old(5))
	r := reconcile(t, c)
	if want := (BucketReport{Listed: 6, New: 1, Incomplete: 2, Malformed: 3}); r.Production != want {
		t.Errorf("first pass %+v, want %+v", r.Production, want)
	}
	if len(r.Problems) != 3 || !slices.ContainsFunc(r.Problems, func(s string) bool { return strings.Contains(s, "badtime.jpg") && strings.Contains(s, "yesterday") }) {
		t.Errorf("problems %q: want each malformed key with what is wrong", r.Problems)
	}
	w.tag(p, "class_03/late.jpg", old(4))
	w.tag(p, "class_03/badtime.jpg", old(3))
	r = reconcile(t, c)
	if want := (BucketReport{Listed: 6, New: 1, Incomplete: 1, Malformed: 3, TagsRead: 2}); r.Production != want {
		t.Errorf("second pass %+v, want %+v: the incomplete ones are read again", r.Production, want)
	}
	w.now = w.now.Add(10 * time.Minute)
	r = reconcile(t, c)
	if want := (BucketReport{Listed: 6, New: 1, Incomplete: 1, Malformed: 2}); r.Production != want {
		t.Errorf("third pass %+v, want %+v: all tags are read again", r.Production, want)
	}
	if got := w.record("late.jpg"); !got.Timestamp.Equal(noon.Add(-4*time.Minute)) || got.State != ledger.New || !got.InProduction {
		t.Errorf("late.jpg = %+v", got)
	}
	var malformed dto.Metric
	must(t, c.metrics.objects.WithLabelValues(inProduction, isMalformed).Write(&malformed))
	if got := malformed.GetCounter().GetValue(); got != 5 {
		t.Errorf("malformed read %g times, want 5", got)
	}
	families, err := reg.Gather()
	if err != nil || len(families) != 2 || len(families[0].GetMetric()) != 12 || len(families[1].GetMetric()) != 2 {
		t.Errorf("%v, %v: want every bucket and result born at zero", families, err)
	}
}

func TestForeignFlagsAreSeenWhenTagsAreReadAgain(t *testing.T) {
	w := newWorld(t)
	c := New(w.store, w.ledger, w.buckets, w.options())
	w.put(w.buckets.Production, "class_03/a.jpg", old(5))
	reconcile(t, c)
	w.tag(w.buckets.Production, "class_03/a.jpg", map[string]string{"flagged": "true", "corrected_class": "Coat"})
	w.now = w.now.Add(9 * time.Minute)
	if r := reconcile(t, c); r.Production.Changed != 0 {
		t.Errorf("before TagsEvery: %+v", r.Production)
	}
	w.now = w.now.Add(time.Minute)
	if r := reconcile(t, c); r.Production.Changed != 1 {
		t.Errorf("after TagsEvery: %+v", r.Production)
	}
	if got := w.record("a.jpg"); !got.Flagged || got.CorrectedClass != "Coat" {
		t.Errorf("a.jpg = %+v", got)
	}
}

// A clean bucket as the old DAG writes it: four tags, the directory is the
// human's class, the tag the model's. Class 3 is Dress.
func TestAnOldCleanBucketGivesItsAccuracy(t *testing.T) {
	all := dg.Interval{Start: noon.Add(-time.Hour), End: noon.Add(time.Hour)}
	for _, tt := range []struct {
		name       string
		classes    dg.Classes
		production bool
		labels     int
	}{
		{"with the class list", dg.FashionMNIST, false, 7},
		{"without one, nothing is guessed", nil, false, 0},
		{"production shows what a directory means", nil, true, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			for i := range 7 {
				dir := "class_03"
				if i == 6 {
					dir = "class_08" // the human says Bag
				}
				w.put(w.buckets.Clean, fmt.Sprintf("%s/%d.jpg", dir, i), old(i))
				if tt.production {
					w.put(w.buckets.Production, fmt.Sprintf("class_03/%d.jpg", i), old(i))
				}
			}
			o := w.options()
			o.Classes = func() dg.Classes { return tt.classes }
			c := New(w.store, w.ledger, w.buckets, o)
			r := reconcile(t, c)
			if got := 7 - r.Clean.Classless; got != tt.labels {
				t.Errorf("%+v: %d labels, want %d", r.Clean, got, tt.labels)
			}
			check := func(when string) {
				t.Helper()
				counts, err := w.ledger.Counts(t.Context(), "", all)
				must(t, err)
				m, k := 0, 0
				for _, c := range counts {
					m, k = m+c.Labels, k+c.Correct
				}
				if m != tt.labels || k != min(6, m) {
					t.Errorf("%s: %d of %d right, want %d of %d", when, k, m, min(6, tt.labels), tt.labels)
				}
			}
			check("reconciled")
			if again := reconcile(t, c); again.Clean.New+again.Clean.Changed != 0 {
				t.Errorf("second pass did it again: %+v", again.Clean)
			}
			if _, err := c.Rebuild(t.Context()); err != nil {
				t.Fatal(err)
			}
			check("rebuilt")
		})
	}
}

func TestAnswersToAReplacedImageAreForgotten(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.put(w.buckets.Clean, fmt.Sprintf("class_03/%d.jpg", i), old(i))
	}
	o := w.options()
	o.Classes = func() dg.Classes { return dg.FashionMNIST }
	c := New(w.store, w.ledger, w.buckets, o)
	reconcile(t, c)
	const version = dg.ModelRef("sha256:aa")
	must(t, w.ledger.SavePredictions(t.Context(), version, "heldout", noon, []ledger.Prediction{{ID: "0.jpg", Class: 1, Confidence: .5}, {ID: "1.jpg", Class: 1, Confidence: .5}, {ID: "2.jpg", Class: 1, Confidence: .5}}))
	_, err := w.store.Put(t.Context(), w.buckets.Clean, "class_03/1.jpg", []byte("another picture"), objstore.PutOptions{Tags: old(1)})
	must(t, err)
	must(t, w.store.Delete(t.Context(), w.buckets.Clean, "class_03/2.jpg"))
	reconcile(t, c)
	left, err := ledger.All(w.ledger.Predictions(t.Context(), version, "heldout"))
	if err != nil || len(left) != 1 || left[0].ID != "0.jpg" {
		t.Errorf("answers to %+v are left, %v; want those to the image that is the same", left, err)
	}
}

func TestTheLaterOfTwoLabelsCounts(t *testing.T) {
	w := newWorld(t)
	w.put(w.buckets.Clean, "class_08/a.jpg", old(5, "labelled_at", noon.Add(time.Hour).Format(dg.TimeFormat)))
	w.put(w.buckets.Clean, "class_09/a.jpg", old(5, "labelled_at", noon.Format(dg.TimeFormat)))
	c := New(w.store, w.ledger, w.buckets, w.options())
	for range 2 {
		reconcile(t, c)
		if got := w.record("a.jpg").Label; got != "Bag" {
			t.Errorf("label %q, want Bag", got)
		}
	}
	w.put(w.buckets.Clean, "class_07/b.jpg", old(5))
	w.put(w.buckets.Clean, "class_10/c.jpg", old(5))
	if r := reconcile(t, c); r.Clean.New != 1 || r.Clean.Malformed != 1 {
		t.Errorf("%+v: want one new and one beyond the class list", r.Clean)
	}
}

// A rebuild must end where the daily bookkeeping ended: the real pipelines run
// over real buckets, with foreign hands in between.
func TestRebuildEqualsWhatWasKeptDayByDay(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	c := New(w.store, w.ledger, w.buckets, w.options())
	lab := labelling.New(labelling.Options{Classes: w.options().Classes, Now: func() time.Time { return w.now }, Seed: 1}, w.store, w.ledger, w.buckets)
	served := func(i int, tags map[string]string) {
		key := fmt.Sprintf("class_03/s%03d.png", i)
		tags["model_version"] = "0123456789ab"
		w.put(w.buckets.Production, key, tags)
		s, err := dg.ParseSample(key, tags)
		must(t, err)
		must(t, w.ledger.Captured(ctx, s))
	}
	n := 0
	for round := range 4 {
		w.now = noon.Add(time.Duration(round) * 30 * time.Minute)
		start := w.now.Add(-30 * time.Minute)
		stamp := func(i int) string { return start.Add(time.Duration(i) * time.Minute).Format(dg.TimeFormat) }
		for i := range 20 {
			tags := old(0, "timestamp", stamp(i))
			switch {
			case i < 3:
				tags["confidence"] = "0.400"
			case i == 3:
				tags["flagged"] = "true"
			case i == 4:
				tags["corrected_class"] = "Bag"
			case i == 5:
				delete(tags, "confidence")
			}
			served(n, tags)
			n++
		}
		w.put(w.buckets.Production, fmt.Sprintf("class_03/f%d.jpg", round), old(0, "timestamp", stamp(21)))
		w.put(w.buckets.Clean, fmt.Sprintf("class_01/alone%d.jpg", round), old(0, "timestamp", stamp(22)))
		_, err := c.Reconcile(ctx)
		must(t, err)
		_, err = lab.Curate(ctx, dg.Interval{Start: start, End: w.now}, true)
		must(t, err)
		tasks, err := lab.Lease(ctx, "ann", 7)
		must(t, err)
		for i, task := range tasks {
			must(t, lab.Answer(ctx, "ann", task.ID, dg.FashionMNIST[3+i%2]))
		}
		_, err = lab.Collect(ctx)
		must(t, err)
		for _, i := range []int{n - 1, n - 2, n - 7, n - 12} { // flags that come late, on noisy, waiting and labelled ones
			must(t, w.store.UpdateTags(ctx, w.buckets.Production, fmt.Sprintf("class_03/s%03d.png", i), func(tags map[string]string) error {
				tags["flagged"] = "true"
				return nil
			}))
		}
		w.now = w.now.Add(15 * time.Minute)
	}
	_, err := c.Reconcile(ctx)
	must(t, err)
	_, err = lab.Curate(ctx, dg.Interval{Start: w.now.Add(-time.Minute), End: w.now}, true)
	must(t, err)
	w.put(w.buckets.Production, "class_03/fresh.png", old(-300))
	reconcile(t, c)

	fresh := openLedger(t)
	r, err := New(w.store, fresh, w.buckets, w.options()).Rebuild(ctx)
	must(t, err)
	compare(t, w.ledger, fresh)
	if r.Samples != n+9 {
		t.Errorf("%d samples, want %d", r.Samples, n+9)
	}
	if _, err := c.Rebuild(ctx); err != nil { // over what is there
		t.Fatal(err)
	}
	compare(t, fresh, w.ledger)
}

// compare demands that two ledgers hold the same records, counts and totals,
// and that every state occurs.
func compare(t *testing.T, a, b *ledger.Ledger) {
	t.Helper()
	all := dg.Interval{Start: noon.Add(-time.Hour), End: noon.Add(100 * time.Hour)}
	x, y := dump(t, a, all), dump(t, b, all)
	for id, want := range x {
		if y[id] != want {
			t.Errorf("%s\n rebuilt %s\n kept    %s", id, y[id], want)
		}
	}
	if len(x) != len(y) {
		t.Errorf("%d rows rebuilt, %d kept", len(y), len(x))
	}
	for _, s := range ledger.States {
		if !slices.ContainsFunc(slices.Collect(maps.Values(x)), func(v string) bool { return strings.Contains(v, "State:"+string(s)+" ") }) {
			t.Errorf("the scenario has no sample in state %s", s)
		}
	}
}

func dump(t *testing.T, l *ledger.Ledger, iv dg.Interval) map[string]string {
	t.Helper()
	ctx := t.Context()
	out := map[string]string{}
	new1, err := ledger.All(l.Uncurated(ctx, iv.End))
	must(t, err)
	rest, err := ledger.All(l.Training(ctx, iv))
	must(t, err)
	waiting, err := l.Waiting(ctx, 0)
	must(t, err)
	unplaced, err := ledger.All(l.Unplaced(ctx))
	must(t, err)
	for _, r := range slices.Concat(new1, rest, waiting, unplaced) {
		if r.State == ledger.Labelled && !strings.HasPrefix(r.ID(), "s") {
			r.LabelledAt = time.Time{} // from the object's clock
		}
		out[r.ID()] = fmt.Sprintf("%+v", r)
	}
	counts, err := l.Counts(ctx, "", iv)
	must(t, err)
	out["counts"] = fmt.Sprintf("%+v", counts)
	totals, err := l.OutcomeTotals(ctx)
	must(t, err)
	sum := map[string]int{}
	for _, o := range totals { // a late flag moves the stratum of a label, not of the count when it was given
		sum[fmt.Sprint(o.ModelVersion, o.Correct)] += o.Count
	}
	out["totals"] = fmt.Sprint(sum)
	return out
}

func TestABrokenListingFailsThePassAndARebuildChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.put(w.buckets.Production, "class_03/a.jpg", old(5))
	c := New(w.store, w.ledger, w.buckets, w.options())
	reconcile(t, c)
	broken := errors.New("store away")
	c.store = brokenStore{c.store, w.buckets.Noisy, broken}
	if _, err := c.Rebuild(t.Context()); !errors.Is(err, broken) {
		t.Errorf("rebuild = %v", err)
	}
	if got := w.record("a.jpg"); got.State != ledger.New {
		t.Errorf("after a broken rebuild: %+v", got)
	}
	w.put(w.buckets.Production, "class_03/b.jpg", old(5))
	c.store = brokenStore{c.store, w.buckets.Clean, broken}
	if _, err := c.Reconcile(t.Context()); !errors.Is(err, broken) {
		t.Errorf("reconcile = %v", err)
	}
	w.record("b.jpg") // what the pass entered before stays
}

type brokenStore struct {
	Store
	bucket string
	err    error
}

func (s brokenStore) List(ctx context.Context, bucket, prefix string, withTags bool) iter.Seq2[objstore.Object, error] {
	if bucket != s.bucket {
		return s.Store.List(ctx, bucket, prefix, withTags)
	}
	return func(yield func(objstore.Object, error) bool) { yield(objstore.Object{}, s.err) }
}

func (s brokenStore) ListCheap(ctx context.Context, bucket, prefix string) iter.Seq2[objstore.Object, error] {
	if bucket != s.bucket {
		return s.Store.ListCheap(ctx, bucket, prefix)
	}
	return s.List(ctx, bucket, prefix, true)
}

func TestUncollectedAnswersOutliveARebuild(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for _, name := range []string{"a", "b"} {
		w.put(w.buckets.Production, "class_03/"+name, old(5))
		w.put(w.buckets.Waiting, "class_03/"+name, old(5))
	}
	c := New(w.store, w.ledger, w.buckets, w.options())
	_, err := c.Rebuild(ctx)
	must(t, err)
	must(t, w.ledger.Answer(ctx, ledger.Answer{ID: "a", Label: "Bag", At: noon}))
	must(t, w.ledger.Answer(ctx, ledger.Answer{ID: "b", Label: "Bag", At: noon}))
	w.put(w.buckets.Clean, "class_08/b", old(5))
	_, err = c.Rebuild(ctx)
	must(t, err)
	left, err := w.ledger.Answers(ctx, noon)
	if err != nil || len(left) != 1 || left[0].ID != "a" {
		t.Errorf("answers = %v, %v: want a's; b is labelled", left, err)
	}
}

// Buggy writers send the zero of their clocks; the ledger has no row for it.
func TestATimestampOfZeroFailsNoPass(t *testing.T) {
	for _, stamp := range []string{"0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"} {
		w := newLoop(t, openLedger(t))
		w.store.put(w.buckets.Production, "class_03/a.png", old(20, "timestamp", stamp))
		w.store.put(w.buckets.Clean, "class_03/b.png", old(20, "timestamp", stamp))
		w.store.put(w.buckets.Production, "class_03/c.png", old(20))
		w.reconcile()
		w.store.edit(w.buckets.Production, "class_03/a.png", func(tags map[string]string) { tags["flagged"] = "true" })
		if r := w.reconcile(); r.Production.Malformed != 1 || r.Clean.Malformed != 1 || w.unknown("c.png") {
			t.Errorf("%s: %+v, want it malformed and the others entered", stamp, r)
		}
		w.rebuilt([]string{"c.png"})
	}
}
