package catalog

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/objstore"
)

func TestWhatTheServiceWroteIsEnteredWithoutReadingTags(t *testing.T) {
	w := newLoop(t, openLedger(t))
	w.catalog.o.TagsEvery = time.Hour
	w.store.listsTags = false
	w.reconcile() // a rotation, over nothing
	for i := range 20 {
		w.served(fmt.Sprintf("class_03/%02d.png", i), old(i, "confidence", "0.400"))
	}
	w.curate()
	for i := range 5 {
		must(t, w.answer(fmt.Sprintf("%02d.png", 19-i), "Bag"))
	}
	w.now = noon.Add(30 * time.Minute)
	w.curate()
	w.collect()
	before := w.store.tagsAsked
	r := w.reconcile()
	if n := w.store.tagsAsked - before; n != 0 || r.Production.TagsRead+r.Clean.TagsRead != 0 {
		t.Errorf("%d requests for tags: %+v", n, r)
	}
	if r.Production.Listed != 20 || r.Clean.Listed == 0 || r.Production.New+r.Clean.New+r.Clean.Changed != 0 {
		t.Errorf("%+v", r)
	}
}

func TestWithoutTagsInListingsTheyAreReadInBoundedRotation(t *testing.T) {
	w := newLoop(t, openLedger(t))
	w.catalog.o.TagsAtOnce = 10
	w.store.listsTags = false
	for i := range 25 {
		w.served(fmt.Sprintf("class_03/%02d.png", i), old(20))
	}
	w.reconcile() // they are new, and known
	for _, id := range []string{"03", "12", "22"} {
		w.store.edit(w.buckets.Production, "class_03/"+id+".png", func(tags map[string]string) { tags["flagged"] = "true" })
	}
	flagged := func() (n int) {
		for i := range 25 {
			if w.record(fmt.Sprintf("%02d.png", i)).Flagged {
				n++
			}
		}
		return n
	}
	for pass, want := range []int{1, 2, 3} {
		r := w.reconcile()
		if r.Production.TagsRead > 10+1 { // and once more for the one that changed
			t.Errorf("pass %d asked for the tags of %d objects", pass, r.Production.TagsRead)
		}
		if got := flagged(); got != want {
			t.Errorf("after pass %d %d flags are seen, want %d", pass, got, want)
		}
	}
	w.store.edit(w.buckets.Production, "class_03/01.png", func(tags map[string]string) { tags["flagged"] = "true" })
	w.reconcile()
	if got := flagged(); got != 4 {
		t.Errorf("the rotation does not begin again: %d flags", got)
	}
}

// shuffled lists production's objects in the wrong order.
type shuffled struct{ Store }

func (s shuffled) ListCheap(ctx context.Context, bucket, prefix string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		_ = yield(objstore.Object{Key: "class_04/b.png"}, nil) && yield(objstore.Object{Key: "class_03/a.png"}, nil)
	}
}

func TestAListingOutOfOrderIsRefused(t *testing.T) {
	w := newLoop(t, openLedger(t))
	w.catalog.store = shuffled{w.store}
	if _, err := w.catalog.Reconcile(t.Context()); err == nil || !strings.Contains(err.Error(), `"class_03/a.png" after "class_04/b.png"`) {
		t.Errorf("error %v", err)
	}
}

func TestOnlyAPageIsHeldOfALargeBucket(t *testing.T) {
	w := newLoop(t, openLedger(t))
	const n = 3*batchSize + 7
	for i := range n {
		w.store.put(w.buckets.Clean, fmt.Sprintf("class_%02d/%05d.png", i%10, i), old(i%1000, "labelled_at", noon.Format(dg.TimeFormat)))
	}
	if r := w.reconcile(); r.Clean.New != n {
		t.Errorf("%+v", r.Clean)
	}
	for i := range n / 2 {
		w.remove(w.buckets.Clean, fmt.Sprintf("class_%02d/%05d.png", i%10, i))
	}
	if r := w.reconcile(); r.Clean.Vanished != n/2 || r.Clean.New+r.Clean.Changed != 0 {
		t.Errorf("%+v", r.Clean)
	}
	if _, m := w.counted(); m != n-n/2 {
		t.Errorf("%d labels, want %d", m, n-n/2)
	}
	r, err := w.catalog.Rebuild(t.Context())
	if must(t, err); r.Samples != n-n/2 {
		t.Errorf("%+v", r)
	}
}

// A directory walk and the order of bytes disagree on these keys.
func TestOddKeysDoNotUpsetTheMerge(t *testing.T) {
	w := newWorld(t)
	for _, key := range []string{"class_03/a.png", "class_03-x/a.png", "class_03.txt", "class_03 old/b.png", "class_030/a.png", "class_03/A.png", "class_03/ä.png", "class_03/deep/a.png"} {
		w.put(w.buckets.Production, key, old(5))
	}
	c := New(w.store, w.ledger, w.buckets, w.options())
	for range 2 {
		if r := reconcile(t, c); r.Production.Listed != 8 || r.Production.Vanished != 0 {
			t.Errorf("%+v", r)
		}
	}
}
