package catalog

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// labelled is a loop with one sample that a person has labelled Bag, where the
// model said Dress.
func labelled(t *testing.T) *loop {
	w := newLoop(t, openLedger(t))
	w.served("class_03/a.png", old(20, "confidence", "0.400", "model_version", "0123456789ab"))
	w.curate()
	must(t, w.answer("a.png", "Bag"))
	w.collect()
	w.reconcile()
	if r := w.record("a.png"); r.State != ledger.Labelled || r.Label != "Bag" {
		t.Fatalf("the sample is %+v", r)
	}
	return w
}

func (w *loop) remove(bucket, key string) {
	w.t.Helper()
	must(w.t, w.store.Delete(w.t.Context(), bucket, key))
}

// counted sums the counts of all windows.
func (w *loop) counted() (predictions, labels int) {
	w.t.Helper()
	counts, err := w.ledger.Counts(w.t.Context(), "", dg.Interval{Start: noon.Add(-24 * time.Hour), End: noon.Add(24 * time.Hour)})
	must(w.t, err)
	for _, c := range counts {
		predictions, labels = predictions+c.Predictions, labels+c.Labels
	}
	return predictions, labels
}

func (w *loop) totals() (n int) {
	w.t.Helper()
	totals, err := w.ledger.OutcomeTotals(w.t.Context())
	must(w.t, err)
	for _, o := range totals {
		n += o.Count
	}
	return n
}

func TestAWithdrawnLabelLeavesTheCountsAndIsAskedAgain(t *testing.T) {
	for _, tt := range []struct {
		name        string
		removed     func(w *loop)
		state       ledger.State // empty: forgotten
		placed      bool
		predictions int
	}{
		{"the label alone", func(w *loop) { w.remove(w.buckets.Clean, "class_08/a.png") }, ledger.Waiting, false, 1},
		{"the label and its training copy", func(w *loop) {
			w.remove(w.buckets.Clean, "class_08/a.png")
			w.remove(w.buckets.Noisy, "class_08/a.png")
		}, ledger.Waiting, false, 1},
		{"the label and the prediction", func(w *loop) {
			w.remove(w.buckets.Clean, "class_08/a.png")
			w.remove(w.buckets.Production, "class_03/a.png")
		}, "", false, 0},
		{"the label, while a copy waits again", func(w *loop) {
			w.remove(w.buckets.Clean, "class_08/a.png")
			w.store.put(w.buckets.Waiting, "class_03/a.png", old(20, "stratum", "low_confidence", "sampling_fraction", "1"))
		}, ledger.Waiting, true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := labelled(t)
			tt.removed(w)
			if r := w.reconcile(); r.Clean.Vanished != 1 {
				t.Errorf("%+v: want one label vanished", r.Clean)
			}
			if n, m := w.counted(); n != tt.predictions || m != 0 {
				t.Errorf("counts of %d predictions and %d labels, want %d and none", n, m, tt.predictions)
			}
			if n := w.totals(); n != 1 {
				t.Errorf("%d labels counted for ever, want the one there was", n)
			}
			if tt.state == "" {
				if !w.unknown("a.png") {
					t.Errorf("still known as %+v", w.record("a.png"))
				}
				return
			}
			r := w.record("a.png")
			if r.State != tt.state || r.Placed != tt.placed || r.Label != "" || !r.LabelledAt.IsZero() || r.Stratum != dg.LowConfidence || !r.Selected {
				t.Errorf("the sample is %+v", r)
			}
			w.curate() // brings it to label-wait
			w.rebuilt([]string{"a.png"})
			must(t, w.answer("a.png", "Dress"))
			w.collect()
			w.reconcile()
			if _, m := w.counted(); m != 1 || w.record("a.png").Label != "Dress" {
				t.Errorf("asked again, it is %+v", w.record("a.png"))
			}
		})
	}
}

func TestALabelThatWasNeverListedIsWithdrawnToo(t *testing.T) {
	w := newLoop(t, openLedger(t))
	w.served("class_03/a.png", old(20, "confidence", "0.400"))
	w.served("class_03/b.png", old(20, "confidence", "0.400"))
	w.curate()
	must(t, w.answer("a.png", "Bag"))
	w.collect()
	w.remove(w.buckets.Clean, "class_08/a.png")
	w.remove(w.buckets.Production, "class_03/b.png")
	w.remove(w.buckets.Waiting, "class_03/b.png")
	w.reconcile()
	if r := w.record("a.png"); r.State != ledger.Waiting || r.Placed {
		t.Errorf("a.png is %+v", r)
	}
	if !w.unknown("b.png") {
		t.Errorf("b.png is %+v", w.record("b.png"))
	}
}

func TestAVanishedPredictionNoLongerCounts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(w *loop)
		known  bool
		counts int
	}{
		{"nobody decided on it", func(*loop) {}, false, 0},
		{"its copy waits for a label", func(w *loop) { w.curate() }, true, 0},
		{"it is labelled", func(w *loop) {
			w.curate()
			must(w.t, w.answer("a.png", "Bag"))
			w.collect()
		}, true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newLoop(t, openLedger(t))
			w.served("class_03/a.png", old(20, "confidence", "0.400"))
			tt.before(w)
			w.reconcile()
			w.remove(w.buckets.Production, "class_03/a.png")
			w.now = w.now.Add(time.Minute)
			if r := w.reconcile(); r.Production.Vanished != 1 {
				t.Errorf("%+v: want one prediction vanished", r.Production)
			}
			if w.unknown("a.png") == tt.known {
				t.Errorf("known: %t, want %t", !tt.known, tt.known)
			}
			if n, m := w.counted(); n != tt.counts || m != tt.counts {
				t.Errorf("counts of %d predictions and %d labels, want %d of each", n, m, tt.counts)
			}
			w.rebuilt([]string{"a.png"})
		})
	}
}

func TestWhatAListingLeavesOutIsNotBelievedGone(t *testing.T) {
	w := labelled(t)
	for _, key := range []string{"class_08/a.png", "class_03/a.png"} {
		w.store.hidden = key
		if r := w.reconcile(); r.Clean.Vanished+r.Production.Vanished != 0 {
			t.Errorf("%s: %+v", key, r)
		}
		w.store.hidden = ""
		if r := w.reconcile(); r.Clean.New+r.Clean.Changed+r.Production.New+r.Production.Changed != 0 {
			t.Errorf("%s shown again: %+v", key, r)
		}
	}
	if r := w.record("a.png"); r.Label != "Bag" || !r.InProduction {
		t.Errorf("the sample is %+v", r)
	}
}

func TestABucketThatSuddenlyIsEmptyIsRefused(t *testing.T) {
	w := newLoop(t, openLedger(t))
	for i := range emptied {
		w.served(fmt.Sprintf("class_03/%03d.png", i), old(20))
	}
	w.reconcile()
	w.store.buckets[w.buckets.Production] = nil
	_, err := w.catalog.Reconcile(t.Context())
	if !errors.Is(err, dg.ErrRefused) || !strings.Contains(err.Error(), "100 samples") {
		t.Errorf("error %v", err)
	}
	if n, _ := w.counted(); n != emptied {
		t.Errorf("%d predictions left", n)
	}
	if _, err := w.catalog.Rebuild(t.Context()); err != nil {
		t.Error(err)
	}
	if n, _ := w.counted(); n != 0 {
		t.Errorf("%d predictions after a rebuild, want none", n)
	}
}

func TestOfSeveralLabelsTheLatestLeftCounts(t *testing.T) {
	w := labelled(t)
	later := func(minutes int) map[string]string {
		o, err := w.store.find(w.buckets.Clean, "class_08/a.png")
		must(t, err)
		tags := maps.Clone(o.Tags)
		tags["labelled_at"] = noon.Add(time.Duration(minutes) * time.Minute).Format(dg.TimeFormat)
		return tags
	}
	w.store.put(w.buckets.Clean, "class_04/a.png", later(30))
	w.store.put(w.buckets.Clean, "class_01/a.png", later(-10))
	for _, step := range []struct {
		remove, label string
	}{{"", "Coat"}, {"class_04/a.png", "Bag"}, {"class_08/a.png", "Trouser"}} {
		if step.remove != "" {
			w.remove(w.buckets.Clean, step.remove)
		}
		w.reconcile()
		if r := w.record("a.png"); r.Label != step.label {
			t.Errorf("without %q the label is %q, want %q", step.remove, r.Label, step.label)
		}
		w.rebuilt([]string{"a.png"})
	}
	if n := w.totals(); n != 1 {
		t.Errorf("%d labels counted, want 1: a mended label is not a second one", n)
	}
}

func TestALabelMovedToAnotherClassIsMended(t *testing.T) {
	for _, to := range []string{"class_04/a.png", "class_09/a.png"} { // listed before and after the old key
		w := labelled(t)
		o, err := w.store.find(w.buckets.Clean, "class_08/a.png")
		must(t, err)
		w.remove(w.buckets.Clean, "class_08/a.png")
		w.store.put(w.buckets.Clean, to, o.Tags)
		w.reconcile()
		n, _, _ := dg.ParseKey(to)
		if r := w.record("a.png"); r.Label != classes()[n] || r.State != ledger.Labelled {
			t.Errorf("moved to %s it is %+v", to, r)
		}
		if n := w.totals(); n != 1 {
			t.Errorf("%d labels counted, want 1", n)
		}
	}
}

func TestALabelOfAnUnknownImageCountsAsALabelledPrediction(t *testing.T) {
	w := newLoop(t, openLedger(t))
	w.store.put(w.buckets.Clean, "class_08/a.png", old(20))
	w.reconcile()
	if n, m := w.counted(); n != 1 || m != 1 {
		t.Errorf("counts of %d predictions and %d labels, want 1 and 1", n, m)
	}
	w.served("class_03/a.png", old(20)) // its prediction comes in later
	w.reconcile()
	if r := w.record("a.png"); !r.InProduction || r.Key != "class_03/a.png" || r.Label != "Bag" {
		t.Errorf("the sample is %+v", r)
	}
	w.rebuilt([]string{"a.png"})
}

func TestTagsEditedByHandChangeFlagCorrectionAndLabelOnly(t *testing.T) {
	w := labelled(t)
	before := w.record("a.png")
	w.store.edit(w.buckets.Production, "class_03/a.png", func(tags map[string]string) {
		tags["predicted_class"], tags["confidence"], tags["model_version"] = "Bag", "0.999", "fedcba987654"
		tags["timestamp"] = noon.Format(dg.TimeFormat)
		tags["flagged"], tags["corrected_class"] = "true", "Coat"
	})
	w.store.edit(w.buckets.Clean, "class_08/a.png", func(tags map[string]string) {
		tags["labelled_at"], tags["label_source"] = noon.Add(time.Hour).Format(dg.TimeFormat), "human:1/3"
		tags["predicted_class"] = "Bag"
	})
	if r := w.reconcile(); r.Production.Changed != 1 || r.Clean.Changed != 1 {
		t.Errorf("%+v", r)
	}
	want := before
	want.Flagged, want.CorrectedClass = true, "Coat"
	want.LabelledAt, want.Votes = noon.Add(time.Hour), dg.Votes{Agree: 1, Of: 3}
	if got := w.record("a.png"); got != want {
		t.Errorf("the sample is\n%+v, want\n%+v", got, want)
	}
	w.store.edit(w.buckets.Production, "class_03/a.png", func(tags map[string]string) {
		delete(tags, "flagged")
		delete(tags, "corrected_class")
	})
	w.reconcile()
	if r := w.record("a.png"); r.Flagged || r.CorrectedClass != "" {
		t.Errorf("the flag was taken back, and the sample is %+v", r)
	}
	for _, bad := range []string{"timestamp", "confidence"} { // unreadable: it stays what it was
		w.store.edit(w.buckets.Production, "class_03/a.png", func(tags map[string]string) { tags[bad] = "nonsense" })
		w.store.edit(w.buckets.Clean, "class_08/a.png", func(tags map[string]string) { tags[bad] = "nonsense" })
	}
	if r := w.reconcile(); r.Production.Malformed != 1 || r.Clean.Malformed != 1 {
		t.Errorf("%+v: want two objects that can't be read", r)
	}
	if r := w.record("a.png"); r.Label != "Bag" || !r.InProduction || r.PredictedClass != "Dress" {
		t.Errorf("unreadable tags made it %+v", r)
	}
}

func TestALabelInCollectsHandsIsLeftToIt(t *testing.T) {
	w := newLoop(t, openLedger(t))
	w.served("class_03/a.png", old(20, "confidence", "0.400"))
	w.curate()
	must(t, w.answer("a.png", "Bag"))
	must(t, w.ledger.Move(t.Context(), ledger.Answer{ID: "a.png", Label: "Bag", Source: dg.HumanLabel, At: w.now}))
	w.store.put(w.buckets.Clean, "class_04/a.png", old(20, "labelled_at", noon.Add(time.Hour).Format(dg.TimeFormat)))
	w.reconcile()
	if r := w.record("a.png"); r.State != ledger.Waiting {
		t.Errorf("while collect moves it, the sample is %+v", r)
	}
	must(t, w.ledger.Unmove(t.Context(), "a.png"))
	w.reconcile() // what was left open is not forgotten
	if r := w.record("a.png"); r.Label != "Coat" {
		t.Errorf("the sample is %+v", r)
	}
}
