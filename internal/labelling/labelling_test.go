package labelling

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
)

var server struct {
	once  sync.Once
	store *objstore.Store // one for all tests: each keeps connections open
	err   error
	dir   string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if server.dir != "" {
		_ = os.RemoveAll(server.dir) // the server ends with the process
	}
	os.Exit(code)
}

// openStore starts the one embedded server of this test process.
func openStore(t testing.TB) *objstore.Store {
	t.Helper()
	server.once.Do(func() { server.store, server.err = startStore() })
	if server.err != nil {
		t.Fatal(server.err)
	}
	return server.store
}

func startStore() (_ *objstore.Store, err error) {
	if server.dir, err = os.MkdirTemp("", "driftgate-labelling"); err != nil {
		return nil, err
	}
	s, err := embedded.Start(context.Background(), embedded.Options{Dir: server.dir})
	if err != nil {
		return nil, err
	}
	access, secret := s.Credentials()
	return objstore.Open(objstore.Options{Endpoint: s.Endpoint(), AccessKey: access, SecretKey: secret})
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// halfHour is the interval that ends at noon.
var halfHour = dg.Interval{Start: noon.Add(-30 * time.Minute), End: noon}

// world is the service's real neighbours; a service is made for each run, as a
// restarted process would.
type world struct {
	t       testing.TB
	store   *objstore.Store
	ledger  *ledger.Ledger
	buckets objstore.Buckets
	now     time.Time
	o       Options
}

var worlds int

func newWorld(t testing.TB) *world {
	t.Helper()
	st := openStore(t)
	worlds++
	b := objstore.DefaultBuckets(fmt.Sprintf("w%d-", worlds))
	if err := st.EnsureBuckets(t.Context(), b.All()...); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: st, ledger: openLedger(t), buckets: b, now: noon}
	w.o = Options{Classes: func() dg.Classes { return dg.FashionMNIST }, Now: func() time.Time { return w.now }}
	return w
}

func openLedger(t testing.TB) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(context.Background(), filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// service is a fresh process over the world as it is.
func (w *world) service() *Service { return New(w.o, w.store, w.ledger, w.buckets) }

// put stores an object in production and, if it is complete, tells the ledger.
func (w *world) put(key string, tags map[string]string) {
	w.t.Helper()
	_, err := w.store.Put(context.Background(), w.buckets.Production, key, []byte("image of "+key), objstore.PutOptions{Tags: tags, ContentType: "image/png"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.tell(key, tags)
}

func (w *world) tell(key string, tags map[string]string) {
	w.t.Helper()
	s, err := dg.ParseSample(key, tags)
	if errors.Is(err, dg.ErrIncomplete) {
		return
	}
	if err == nil {
		err = w.ledger.Captured(context.Background(), s)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// tag sets a tag of a production object and tells the ledger.
func (w *world) tag(key, tag, value string) {
	w.t.Helper()
	var after map[string]string
	err := w.store.UpdateTags(context.Background(), w.buckets.Production, key, func(tags map[string]string) error {
		tags[tag] = value
		after = maps.Clone(tags)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.tell(key, after)
}

// list returns tags by key.
func (w *world) list(bucket string) map[string]map[string]string {
	w.t.Helper()
	out := map[string]map[string]string{}
	for o, err := range w.store.List(context.Background(), bucket, "", true) {
		if err != nil {
			w.t.Fatal(err)
		}
		out[o.Key] = o.Tags
	}
	return out
}

func (w *world) curate(iv dg.Interval, late bool) CurateReport {
	w.t.Helper()
	r, err := w.service().Curate(context.Background(), iv, late)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) collect() CollectReport {
	w.t.Helper()
	r, err := w.service().Collect(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) answer(id, label string) {
	w.t.Helper()
	if err := w.service().Answer(context.Background(), "ann", id, label); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) record(id string) ledger.Record {
	w.t.Helper()
	r, err := w.ledger.Record(context.Background(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// sampleTags are those of a prediction of class 3, minutes before noon.
func sampleTags(confidence string, minutes int, more ...string) map[string]string {
	tags := map[string]string{"predicted_class": "Dress", "confidence": confidence, "model_version": "0123456789ab",
		"timestamp": noon.Add(-time.Duration(minutes) * time.Minute).Format(dg.TimeFormat)}
	if confidence == "" {
		delete(tags, "confidence")
	}
	for i := 0; i < len(more); i += 2 {
		tags[more[i]] = more[i+1]
	}
	return tags
}

// golden fills production with the golden case of docs/interop.md.
func golden(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.put("class_03/low.png", sampleTags("0.500", 5))
	w.put("class_03/lowflagcorr.png", sampleTags("0.100", 29, "flagged", "true", "corrected_class", "Bag"))
	w.put("class_03/flagged.png", sampleTags("0.990", 10, "flagged", "true"))
	w.put("class_03/corrected.png", sampleTags("0.990", 10, "corrected_class", "Coat"))
	w.put("class_03/edge.png", sampleTags("0.700", 30)) // exactly at the start: within
	w.put("class_03/noconfidence.png", sampleTags("", 10))
	for i := range 10 {
		w.put(fmt.Sprintf("class_03/sure%d.png", i), sampleTags("0.950", i+1))
	}
	w.put("class_03/old.png", sampleTags("0.950", 31))
	notComplete := sampleTags("0.950", 10)
	delete(notComplete, "timestamp")
	w.put("class_03/notcomplete.png", notComplete)
	return w
}

// checkGolden checks what golden's buckets and ledger must be after curate.
func (w *world) checkGolden() {
	w.t.Helper()
	production, waiting, noisy := w.list(w.buckets.Production), w.list(w.buckets.Waiting), w.list(w.buckets.Noisy)
	if len(production) != 18 || len(waiting) != 9 || len(noisy) != 7 {
		w.t.Errorf("production %d, label-wait %d, noisy %d; want 18, 9, 7", len(production), len(waiting), len(noisy))
	}
	strata := map[string]int{}
	for key, tags := range waiting {
		strata[tags["stratum"]]++
		if _, both := noisy[key]; both {
			w.t.Errorf("%s is in label-wait and in noisy", key)
		}
		w.checkTags(key, tags, production[key])
	}
	if want := map[string]int{"low_confidence": 2, "flagged": 1, "corrected": 1, "random": 5}; !maps.Equal(strata, want) {
		w.t.Errorf("picked %v, want %v", strata, want)
	}
	for key, tags := range noisy {
		if tags["stratum"] != "random" {
			w.t.Errorf("%s is in noisy as %s", key, tags["stratum"])
		}
		w.checkTags(key, tags, production[key])
	}
	if left, err := ledger.All(w.ledger.Unplaced(context.Background())); err != nil || len(left) != 0 {
		w.t.Errorf("unplaced %v: %v", left, err)
	}
	if p, err := w.ledger.Progress(context.Background(), ledger.Quorum{}); err != nil || p.Waiting != 9 {
		w.t.Errorf("progress %+v: %v", p, err)
	}
}

// checkTags wants a copy's tags to be the original's with the decision's.
func (w *world) checkTags(key string, got, original map[string]string) {
	w.t.Helper()
	want := maps.Clone(original)
	want["stratum"], want["sampling_fraction"] = got["stratum"], "1"
	if got["stratum"] == "random" {
		want["sampling_fraction"] = "0.4166666666666667" // 5 of 12
	}
	if !maps.Equal(got, want) {
		w.t.Errorf("%s has tags %v, want %v", key, got, want)
	}
}

// faults breaks every call that changes something, from the one after good
// ones on, as a crash would: before it is carried out, or after, with the
// reply lost.
type faults struct {
	mu    sync.Mutex
	good  int
	after bool
	hit   bool
}

var errCrash = errors.New("crash")

func (f *faults) call(do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.good > 0 {
		f.good--
		return do()
	}
	if f.after && !f.hit {
		_ = do()
	}
	f.hit = true
	return errCrash
}

type faultyStore struct {
	ObjectStore
	*faults
}

func (s faultyStore) Copy(ctx context.Context, srcBucket, srcKey, dstBucket, dstKey string, tags map[string]string) error {
	return s.call(func() error { return s.ObjectStore.Copy(ctx, srcBucket, srcKey, dstBucket, dstKey, tags) })
}

func (s faultyStore) Delete(ctx context.Context, bucket string, keys ...string) error {
	return s.call(func() error { return s.ObjectStore.Delete(ctx, bucket, keys...) })
}

type faultyLedger struct {
	Ledger
	*faults
}

func (l faultyLedger) Decide(ctx context.Context, ds []ledger.Decision) error {
	return l.call(func() error { return l.Ledger.Decide(ctx, ds) })
}

func (l faultyLedger) Placed(ctx context.Context, ids ...string) error {
	return l.call(func() error { return l.Ledger.Placed(ctx, ids...) })
}

func (l faultyLedger) Collected(ctx context.Context, a ledger.Answer) error {
	return l.call(func() error { return l.Ledger.Collected(ctx, a) })
}

func (l faultyLedger) Move(ctx context.Context, labels ...ledger.Answer) error {
	return l.call(func() error { return l.Ledger.Move(ctx, labels...) })
}

func (l faultyLedger) Unmove(ctx context.Context, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	return l.call(func() error { return l.Ledger.Unmove(ctx, ids...) })
}

func (l faultyLedger) Unanswer(ctx context.Context, id, annotator string) error {
	return l.call(func() error { return l.Ledger.Unanswer(ctx, id, annotator) })
}

func (l faultyLedger) Answer(ctx context.Context, a ledger.Answer) error {
	return l.call(func() error { return l.Ledger.Answer(ctx, a) })
}

// crashing is a service that crashes after so many changes.
func (w *world) crashing(good int, after bool) (*Service, *faults) {
	f := &faults{good: good, after: after}
	o := w.o
	o.Workers = 1
	return New(o, faultyStore{w.store, f}, faultyLedger{w.ledger, f}, w.buckets), f
}

// crashModes says whether the change at which a crash comes is carried out. A
// crash before a change leaves the buckets as one after the change before it
// does, so the other mode is for long runs.
func crashModes() []bool {
	if os.Getenv("DRIFTGATE_LONG") == "1" {
		return []bool{false, true}
	}
	return []bool{true}
}

func ids(objects map[string]map[string]string) []string {
	var out []string
	for key := range objects {
		out = append(out, path.Base(key))
	}
	slices.Sort(out)
	return out
}

func TestOptionsReportEveryFault(t *testing.T) {
	err := Options{Threshold: 70, RandomQuota: -1, Caps: map[dg.Stratum]int{"odd": 1, dg.Flagged: 0}, Lease: -1, UndoWindow: -1, Workers: -1, Annotators: 10}.Validate()
	if !errors.Is(err, dg.ErrInvalid) {
		t.Fatal(err)
	}
	for _, want := range []string{"threshold 70", "quota -1", `cap of "odd"`, "cap of flagged: 0", "lease -1ns", "undo window -1ns", "workers -1", "annotators 10", "classes"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func TestForeignTagsGiveWayWhereTenAreNotEnough(t *testing.T) {
	tags := map[string]string{"a": "1", "b": "2", "c": "3"}
	for _, k := range knownTags[:6] {
		tags[k] = "x"
	}
	got := withTags(tags, map[string]string{dg.TagStratum: "random", dg.TagSamplingFraction: "0.5"})
	if len(got) != 10 || got["a"] != "1" || got["b"] != "2" || got["c"] != "" || got[dg.TagStratum] != "random" {
		t.Errorf("got %v", got)
	}
	if len(tags) != 9 {
		t.Error("the argument was changed")
	}
}

func TestManyErrorsAreCounted(t *testing.T) {
	err := each(context.Background(), 2, make([]int, 12), func(context.Context, int, int) error { return errCrash })
	if !errors.Is(err, errCrash) || !strings.Contains(err.Error(), "and 7 more") {
		t.Errorf("got %v", err)
	}
}
