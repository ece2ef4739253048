package labelling

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/catalog"
	"driftgate/internal/ledger"
)

func (w *world) reconcile() {
	w.t.Helper()
	c := catalog.New(w.store, w.ledger, w.buckets, catalog.Options{Classes: w.o.Classes, Now: w.o.Now})
	if _, err := c.Reconcile(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// labels is how many labels count, and how many ever did.
func (w *world) labels() (counted, ever int) {
	w.t.Helper()
	counts, err := w.ledger.Counts(w.t.Context(), "", halfHour)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range counts {
		counted += c.Labels
	}
	totals, err := w.ledger.OutcomeTotals(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range totals {
		ever += o.Count
	}
	return counted, ever
}

func TestAWithdrawnLabelIsAskedAgain(t *testing.T) {
	w := trio(t) // right.png answered Dress, wrong.png Bag
	w.collect()
	w.reconcile()
	if counted, ever := w.labels(); counted != 2 || ever != 2 {
		t.Fatalf("%d labels count, %d ever did", counted, ever)
	}
	for range 2 {
		if err := w.service().Withdraw(t.Context(), "wrong.png"); err != nil {
			t.Fatal(err)
		}
	}
	w.reconcile()
	if r := w.record("wrong.png"); r.State != ledger.Waiting || r.Placed || r.Label != "" || r.Stratum != dg.LowConfidence {
		t.Errorf("after the withdrawal %+v", r)
	}
	if counted, ever := w.labels(); counted != 1 || ever != 2 {
		t.Errorf("%d labels count, %d ever did: want the window revised, the counter as it was", counted, ever)
	}
	w.now = noon.Add(30 * time.Minute)
	w.curate(dg.Interval{Start: noon, End: w.now}, true)
	if got := leased(t, w.service(), "bob", 9); got != "open.png wrong.png" && got != "wrong.png open.png" {
		t.Errorf("bob is asked about %q", got)
	}
	if err := w.service().Answer(t.Context(), "bob", "wrong.png", "Coat"); err != nil {
		t.Fatal(err)
	}
	w.collect()
	want := []string{"class_03/right.png", "class_04/wrong.png"}
	for _, bucket := range []string{w.buckets.Clean, w.buckets.Noisy} {
		if got := slices.Sorted(maps.Keys(w.list(bucket))); !slices.Equal(got, want) {
			t.Errorf("%s has %v: want nothing left under the label taken back", bucket, got)
		}
	}
	w.reconcile()
	if counted, ever := w.labels(); counted != 2 || ever != 3 || w.record("wrong.png").Label != "Coat" {
		t.Errorf("%d labels count, %d ever did, %+v", counted, ever, w.record("wrong.png"))
	}
	if left, err := w.ledger.FormerLabels(t.Context(), "wrong.png"); err != nil || len(left) != 0 {
		t.Errorf("former labels %v: %v", left, err)
	}
}

func TestALabelInADirectoryOfThreeDigitsIsWithdrawn(t *testing.T) {
	w := newWorld(t)
	tags := map[string]string{"predicted_class": "Dress", "confidence": "0.400", "timestamp": noon.Format(dg.TimeFormat)}
	w.put("class_03/a.png", tags)
	if err := w.store.Copy(t.Context(), w.buckets.Production, "class_03/a.png", w.buckets.Clean, "class_003/a.png", tags); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if r := w.record("a.png"); r.State != ledger.Labelled {
		t.Fatalf("not labelled: %+v", r)
	}
	if err := w.service().Withdraw(t.Context(), "a.png"); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if r := w.record("a.png"); r.State == ledger.Labelled || r.Label != "" {
		t.Errorf("after the withdrawal %+v", r)
	}
}

func TestVotesComeBackFromTheBuckets(t *testing.T) {
	w := panel(t)
	w.collect()
	w.reconcile()
	w.checkPanel() // what foreign hands would show changes nothing
	fresh := openLedger(t)
	if _, err := catalog.New(w.store, fresh, w.buckets, catalog.Options{Classes: w.o.Classes, Now: w.o.Now}).Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"agreed.png", "split.png", "torn.png", "open.png"} {
		got, err := fresh.Record(t.Context(), id)
		if want := w.record(id); err != nil || got != want {
			t.Errorf("rebuilt %+v, %v\nkept    %+v", got, err, want)
		}
	}
	w.ledger = fresh
	w.checkPanel()
}

func TestWhatCannotBeWithdrawnSaysWhy(t *testing.T) {
	w := trio(t)
	if err := w.ledger.SetForeignLabel(t.Context(), dg.Sample{Key: "class_03/alone.png", PredictedClass: "Dress", Timestamp: noon}, "Dress"); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]error{"none.png": dg.ErrNotFound, "right.png": dg.ErrInvalid, "open.png": dg.ErrInvalid, "alone.png": dg.ErrInvalid} {
		if err := w.service().Withdraw(t.Context(), id); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", id, err, want)
		}
	}
	w.collect()
	w.o.Classes = nil
	if err := w.service().Withdraw(t.Context(), "right.png"); !errors.Is(err, dg.ErrIncomplete) {
		t.Errorf("without a class list: %v", err)
	}
}
