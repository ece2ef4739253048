package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/labelling"
	"driftgate/internal/ledger"
	"driftgate/internal/ledger/ledgertest"
	"driftgate/internal/objstore"
)

// loop is the service at work on buckets in memory: what serves, curates and
// collects, and the catalog beside it.
type loop struct {
	t       *testing.T
	store   *memory
	ledger  *ledger.Ledger
	buckets objstore.Buckets
	lab     *labelling.Service
	catalog *Catalog
	now     time.Time
}

func newLoop(t *testing.T, l *ledger.Ledger) *loop {
	w := &loop{t: t, ledger: l, buckets: objstore.DefaultBuckets("m-"), now: noon}
	clock := func() time.Time { return w.now }
	w.store = newMemory(clock)
	w.lab = labelling.New(labelling.Options{Classes: classes, Now: clock, Seed: 1, Caps: map[dg.Stratum]int{dg.Random: 1}}, w.store, l, w.buckets)
	w.catalog = newCatalog(w.store, l, w.buckets, Options{Classes: classes, Now: clock, TagsEvery: -1})
	return w
}

func classes() dg.Classes { return dg.FashionMNIST }

// served puts a prediction into production as the service does.
func (w *loop) served(key string, tags map[string]string) {
	w.t.Helper()
	w.store.put(w.buckets.Production, key, tags)
	w.told(key)
}

// told tells the ledger of an object as the service does after its upload, or
// after an edit by its own page.
func (w *loop) told(key string) {
	w.t.Helper()
	o, err := w.store.find(w.buckets.Production, key)
	must(w.t, err)
	s, err := dg.ParseSample(key, o.Tags)
	must(w.t, err)
	must(w.t, w.ledger.Captured(w.t.Context(), s))
}

func (w *loop) curate() {
	w.t.Helper()
	_, err := w.lab.Curate(w.t.Context(), dg.Slot(w.now.Add(-30*time.Minute), 30*time.Minute), true)
	must(w.t, err)
}

func (w *loop) answer(id, label string) error {
	return w.ledger.Answer(w.t.Context(), ledger.Answer{ID: id, Label: label, Annotator: "ann", At: w.now})
}

func (w *loop) collect() {
	w.t.Helper()
	w.now = w.now.Add(labelling.DefaultUndoWindow)
	_, err := w.lab.Collect(w.t.Context())
	must(w.t, err)
}

func (w *loop) reconcile() Report {
	w.t.Helper()
	return reconcile(w.t, w.catalog)
}

func (w *loop) record(id string) ledger.Record {
	w.t.Helper()
	r, err := w.ledger.Record(w.t.Context(), id)
	must(w.t, err)
	return r
}

func (w *loop) unknown(id string) bool {
	w.t.Helper()
	_, err := w.ledger.Record(w.t.Context(), id)
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		w.t.Fatal(err)
	}
	return err != nil
}

// records are all that the ledger has.
func records(t *testing.T, l *ledger.Ledger, ids []string) map[string]string {
	t.Helper()
	found, err := l.Records(t.Context(), ids...)
	must(t, err)
	out := map[string]string{}
	for id, r := range found {
		out[id] = fmt.Sprintf("%+v", r)
	}
	return out
}

// rebuilt demands that a rebuild into an empty ledger gives what is kept.
func (w *loop) rebuilt(ids []string) {
	w.t.Helper()
	fresh := openLedger(w.t)
	c := newCatalog(w.store, fresh, w.buckets, w.catalog.o)
	_, err := c.Rebuild(w.t.Context())
	must(w.t, err)
	kept, made := records(w.t, w.ledger, ids), records(w.t, fresh, ids)
	for _, id := range ids {
		if kept[id] != made[id] {
			w.t.Errorf("%s\n kept    %s\n rebuilt %s\n%s", id, kept[id], made[id], w.where(id))
		}
	}
	span := dg.Interval{Start: noon.Add(-24 * time.Hour), End: w.now.Add(24 * time.Hour)}
	a, err := w.ledger.Counts(w.t.Context(), "", span)
	must(w.t, err)
	b, err := fresh.Counts(w.t.Context(), "", span)
	must(w.t, err)
	if fmt.Sprint(a) != fmt.Sprint(b) {
		w.t.Errorf("counts\n kept    %v\n rebuilt %v", a, b)
	}
	r := reconcile(w.t, c)
	if r.Production.New+r.Production.Changed+r.Clean.New+r.Clean.Changed+r.Clean.Vanished > 0 {
		w.t.Errorf("the pass after a rebuild found %+v, want nothing", r)
	}
	if w.store.listsTags && r.Production.TagsRead+r.Clean.TagsRead > 0 {
		w.t.Errorf("the pass after a rebuild asked for tags: %+v", r)
	}
}

// where lists the objects of a sample.
func (w *loop) where(id string) string {
	var b strings.Builder
	for _, bucket := range w.buckets.All() {
		for _, key := range w.store.keys(bucket) {
			if path.Base(key) == id {
				o, _ := w.store.find(bucket, key)
				fmt.Fprintf(&b, "  %s/%s %v\n", bucket, key, o.Tags)
			}
		}
	}
	return b.String()
}

// history does random things that services and foreign hands do.
type history struct {
	*loop
	rng  *rand.Rand
	keys []string // of production, ever
	done map[string]int
}

func (h *history) any(keys []string) (string, bool) {
	if len(keys) == 0 {
		return "", false
	}
	return keys[h.rng.IntN(len(keys))], true
}

func (h *history) ids() []string {
	ids := map[string]bool{}
	for _, k := range h.keys {
		ids[path.Base(k)] = true
	}
	return slices.Sorted(maps.Keys(ids))
}

func (h *history) newKey() string {
	key := fmt.Sprintf("class_%02d/s%03d.png", h.rng.IntN(3)+3, len(h.keys))
	h.keys = append(h.keys, key)
	return key
}

func (h *history) tags() map[string]string {
	class, _, _ := dg.ParseKey(h.keys[len(h.keys)-1])
	tags := map[string]string{
		"predicted_class": classes()[class],
		"confidence":      []string{"0.400", "0.950", "0.990", "0.999"}[h.rng.IntN(4)],
		"timestamp":       h.now.Add(-time.Duration(h.rng.IntN(600)) * time.Second).Format(dg.TimeFormat),
		"model_version":   "0123456789ab",
	}
	switch h.rng.IntN(8) {
	case 0:
		delete(tags, "confidence")
	case 1:
		tags["flagged"] = "true"
	}
	return tags
}

func (h *history) step() {
	h.now = h.now.Add(time.Duration(20+h.rng.IntN(200)) * time.Second)
	b := h.buckets
	kinds := []struct {
		name string
		do   func() bool
	}{
		{"served", func() bool { h.served(h.newKey(), h.tags()); return true }},
		{"served", func() bool { h.served(h.newKey(), h.tags()); return true }},
		{"foreign prediction", func() bool { h.store.put(b.Production, h.newKey(), h.tags()); return true }},
		{"foreign label", func() bool { return h.foreignLabel() }},
		{"label of an unknown image", func() bool {
			key := h.newKey()
			h.store.put(b.Clean, dg.SampleKey(h.rng.IntN(10), path.Base(key)), h.tags())
			return true
		}},
		{"answers and collect", h.people},
		{"answers and collect", h.people},
		{"curate", func() bool { h.curate(); return true }},
		{"flag on the own page", func() bool {
			key, ok := h.any(h.store.keys(b.Production))
			if ok = ok && !h.unknown(path.Base(key)); ok {
				h.store.edit(b.Production, key, func(t map[string]string) { t["flagged"] = "true" })
				h.told(key)
			}
			return ok
		}},
		{"foreign edit of a prediction", func() bool { return h.edit(b.Production) }},
		{"foreign edit of a label", func() bool { return h.edit(b.Clean) }},
		{"prediction put again", func() bool {
			key, ok := h.any(h.store.keys(b.Production))
			if ok {
				o, _ := h.store.find(b.Production, key)
				h.store.put(b.Production, key, o.Tags)
			}
			return ok
		}},
		{"prediction removed", func() bool { return h.remove(b.Production) }},
		{"label removed", func() bool { return h.remove(b.Clean) }},
		{"label moved to another class", h.moved},
		{"second label", h.second},
	}
	k := kinds[h.rng.IntN(len(kinds))]
	if k.do() {
		h.done[k.name]++
	}
}

// foreignLabel labels an image of production as the old pipeline does.
func (h *history) foreignLabel() bool {
	key, ok := h.any(h.store.keys(h.buckets.Production))
	if !ok {
		return false
	}
	o, _ := h.store.find(h.buckets.Production, key)
	tags := maps.Clone(o.Tags)
	if h.rng.IntN(2) == 0 {
		tags["labelled_at"] = h.now.Format(dg.TimeFormat)
	}
	h.store.put(h.buckets.Clean, dg.SampleKey(h.rng.IntN(10), path.Base(key)), tags)
	return true
}

// people answer some of what waits, and collect takes it home.
func (h *history) people() bool {
	waiting, err := h.ledger.Waiting(h.t.Context(), 4)
	must(h.t, err)
	for _, r := range waiting {
		must(h.t, h.answer(r.ID(), classes()[h.rng.IntN(10)]))
	}
	h.collect()
	return len(waiting) > 0
}

func (h *history) edit(bucket string) bool {
	key, ok := h.any(h.store.keys(bucket))
	h.store.edit(bucket, key, func(t map[string]string) {
		switch h.rng.IntN(4) {
		case 0:
			t["flagged"] = "true"
		case 1:
			delete(t, "flagged")
		case 2:
			t["corrected_class"] = "Bag"
		case 3:
			if bucket == h.buckets.Clean {
				t["labelled_at"] = h.now.Format(dg.TimeFormat)
				t["label_source"] = "human:1/3"
			} else {
				delete(t, "corrected_class")
			}
		}
	})
	return ok
}

func (h *history) remove(bucket string) bool {
	key, ok := h.any(h.store.keys(bucket))
	must(h.t, h.store.Delete(context.Background(), bucket, key))
	return ok
}

// moved puts a label's object under another class: a person mends a label.
func (h *history) moved() bool {
	key, ok := h.any(h.store.keys(h.buckets.Clean))
	if !ok {
		return false
	}
	o, _ := h.store.find(h.buckets.Clean, key)
	must(h.t, h.store.Delete(context.Background(), h.buckets.Clean, key))
	h.store.put(h.buckets.Clean, dg.SampleKey(h.rng.IntN(10), path.Base(key)), o.Tags)
	return true
}

// second puts a second label beside one, of the same time or later.
func (h *history) second() bool {
	key, ok := h.any(h.store.keys(h.buckets.Clean))
	if !ok {
		return false
	}
	o, _ := h.store.find(h.buckets.Clean, key)
	if h.rng.IntN(2) == 0 {
		o.Tags["labelled_at"] = h.now.Format(dg.TimeFormat)
	}
	h.store.put(h.buckets.Clean, dg.SampleKey(h.rng.IntN(10), path.Base(key)), o.Tags)
	return true
}

// Whatever services and foreign hands do, in whatever order, the ledger kept
// day by day is the ledger rebuilt from the buckets.
func TestAnyHistoryKeptEqualsRebuilt(t *testing.T) {
	ledgertest.EachDSN(t, func(t *testing.T, dsn string) {
		done := map[string]int{}
		states := map[ledger.State]int{}
		seeds := uint64(4)
		if strings.Contains(dsn, "://") {
			seeds = 1 // a transaction there takes longer
		}
		if os.Getenv("DRIFTGATE_LONG") != "" {
			seeds = 300
		}
		for seed := range seeds {
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				l := ledgertest.Open(t, dsnOf(t, dsn))
				h := &history{loop: newLoop(t, l), rng: rand.New(rand.NewPCG(seed, 7)), done: done}
				h.store.listsTags = seed%2 == 0
				for round := range 12 {
					for range 15 {
						h.step()
						if h.rng.IntN(6) == 0 {
							h.reconcile()
						}
					}
					h.reconcile()
					h.curate() // decisions reach the buckets
					h.reconcile()
					if h.rebuilt(h.ids()); t.Failed() {
						t.Fatalf("in round %d", round)
					}
				}
				found, err := l.Records(t.Context(), h.ids()...)
				must(t, err)
				for _, r := range found {
					states[r.State]++
				}
			})
		}
		if len(done) < 13 {
			t.Errorf("the histories had only %v", done)
		}
		for _, s := range []ledger.State{ledger.Waiting, ledger.Noisy, ledger.Labelled} {
			if states[s] < 5*int(seeds)/2 {
				t.Errorf("the histories ended with %v", states)
			}
		}
	})
}

// dsnOf is a ledger of the test's own, on the same database as dsn.
func dsnOf(t *testing.T, dsn string) string {
	t.Helper()
	if strings.Contains(dsn, "://") {
		return ledgertest.Postgres(t)
	}
	return ledgertest.SQLite(t)
}
