package registry_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/network"
	"driftgate/internal/registry"
)

// later is another process's view of the registry with a clock that is ahead.
func (w *world) later(by time.Duration) *registry.Registry {
	return registry.New(w.store, w.bucket, registry.Options{Model: "garments", Logger: w.log, Now: func() time.Time { return time.Now().Add(by) }})
}

func (w *world) stored() []dg.ModelRef {
	w.t.Helper()
	all, err := w.Models(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var refs []dg.ModelRef
	for _, e := range all {
		refs = append(refs, e.Ref)
	}
	slices.Sort(refs)
	return refs
}

func sorted(refs ...dg.ModelRef) []dg.ModelRef { slices.Sort(refs); return refs }

func TestPruningKeepsWhatAnybodyNeeds(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	const day = 24 * time.Hour
	a, b, c, d, e := w.save(1), w.save(2), w.save(3), w.save(4), w.save(5)
	now := w.promote(b, w.promote(a, dg.Champion{}, ""), "")
	now = w.promote(c, now, "")
	now = w.promote(d, now, "") // a, b, c in history; d serves, c before it
	w.expose(dg.Exposure{Challenger: e, Against: d, Stage: dg.Shadow}, dg.Exposure{})
	time.Sleep(1100 * time.Millisecond) // S3 tells times by the second
	f := w.save(6)
	r := w.later(10 * day)
	prune := func(p registry.Retention) []dg.ModelRef {
		t.Helper()
		gone, err := r.Prune(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		return gone
	}
	if gone := prune(registry.Retention{Keep: 1, Younger: 30 * day}); len(gone) != 0 {
		t.Errorf("young ones went: %v", gone)
	}
	if gone := prune(registry.Retention{Keep: 1, Generations: 4}); len(gone) != 0 {
		t.Errorf("champions of the last four generations went: %v", gone)
	}
	if gone := prune(registry.Retention{Keep: 3}); len(gone) != 0 {
		t.Errorf("the newest three went: %v", gone)
	}
	if gone := prune(registry.Retention{Keep: 1, Generations: 3, DryRun: true}); !slices.Equal(gone, []dg.ModelRef{a}) {
		t.Errorf("a dry run says %v, want %s", gone, a.Short())
	}
	if got := w.stored(); len(got) != 6 {
		t.Errorf("a dry run left %d models", len(got))
	}
	if gone := prune(registry.Retention{Keep: 1, Generations: 3}); !slices.Equal(gone, []dg.ModelRef{a}) {
		t.Errorf("pruned %v, want %s, which only history names", gone, a.Short())
	}
	if gone := prune(registry.Retention{Keep: 1}); !slices.Equal(gone, []dg.ModelRef{b}) {
		t.Errorf("pruned %v, want %s", gone, b.Short())
	}
	if got := w.stored(); !slices.Equal(got, sorted(c, d, e, f)) {
		t.Errorf("left %v, want champion, previous, exposed and the newest", got)
	}
	keys, err := w.store.Bucket(w.bucket).Keys(ctx, "")
	if err != nil || slices.ContainsFunc(keys, func(k string) bool { return k == w.key(a, network.WeightsFile) || k == w.key(b, network.ONNXFile) }) {
		t.Errorf("left behind in %v, %v", keys, err)
	}
	// History still names them, and the way back ends where they were.
	if all, err := w.History(ctx); err != nil || len(all) != 4 || all[0].Version != a {
		t.Errorf("history %v, %v", all, err)
	}
	back, err := w.Rollback(ctx, now, "harm")
	if err != nil || back.Version != c || back.Previous != b {
		t.Fatalf("rolled back to %+v, %v", back, err)
	}
	_, err = w.back("harm")
	wantKind(t, "roll back to what was pruned", err, dg.ErrNotFound)
	if got := w.save(1); got != a { // trained or imported once more
		t.Errorf("saved again as %s", got)
	}
	for _, bad := range []registry.Retention{{}, {Keep: -1}, {Keep: 1, Younger: -1}, {Keep: 1, Generations: -1}} {
		_, err := r.Prune(ctx, bad)
		wantKind(t, "prune by nonsense", err, dg.ErrInvalid)
	}
}

func TestAPruneThatWasCutOffIsCompletedOrForgotten(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	a, b := w.save(1), w.save(2)
	champion := w.promote(w.save(3), dg.Champion{}, "")
	// The mark alone: nothing is deleted yet. A promotion meanwhile is refused.
	w.put(w.key(a, "deleting.json"), []byte("{}"))
	_, err := w.Promote(ctx, a, champion, "gate", "")
	wantKind(t, "promote what is being deleted", err, dg.ErrConflict)
	_, err = w.Save(ctx, filesOf(t, 1))
	wantKind(t, "save what is being deleted", err, dg.ErrConflict)
	if gone, err := w.later(0).Prune(ctx, registry.Retention{Keep: 9}); err != nil || len(gone) != 0 {
		t.Errorf("pruned %v, %v beside another's prune", gone, err)
	}
	if now, err := w.Champion(ctx); err != nil || now != champion {
		t.Errorf("the record is %+v, %v", now, err)
	}
	// The manifest is gone already: there is no such model any more.
	w.put(w.key(b, "deleting.json"), []byte("{}"))
	if err := w.store.Delete(ctx, w.bucket, w.key(b, network.ManifestFile)); err != nil {
		t.Fatal(err)
	}
	if got := w.stored(); !slices.Equal(got, sorted(a, champion.Version)) {
		t.Errorf("listed %v", got)
	}
	// An hour later the first is forgotten, since the policy keeps it, and the
	// second is completed.
	if gone, err := w.later(0).InAnHour().Prune(ctx, registry.Retention{Keep: 9}); err != nil || len(gone) != 0 {
		t.Errorf("pruned %v, %v", gone, err)
	}
	if c := w.promote(a, champion, ""); c.Version != a {
		t.Errorf("promoted %+v", c)
	}
	if keys, err := w.store.Bucket(w.bucket).Keys(ctx, strings.TrimSuffix(w.key(b, ""), "/")); err != nil || len(keys) != 0 {
		t.Errorf("left of the other: %v, %v", keys, err)
	}
}

func TestAHeldModelIsNotDeletedUnlessItsHolderDied(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.promote(w.save(1), dg.Champion{}, "")
	a := w.save(2)
	time.Sleep(1100 * time.Millisecond)
	b := w.save(3)
	hold := strings.Replace(w.key(a, "somebody"), "artifacts/", "holds/", 1)
	w.put(hold, []byte("{}"))
	if gone, err := w.later(time.Hour).Prune(ctx, registry.Retention{Keep: 1}); err != nil || len(gone) != 0 {
		t.Errorf("pruned %v, %v while it was held", gone, err)
	}
	if got := w.stored(); len(got) != 3 {
		t.Errorf("left %v", got)
	}
	if _, err := w.store.Stat(ctx, w.bucket, w.key(a, "deleting.json")); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("the mark stayed: %v", err)
	}
	gone, err := w.later(time.Hour).InAnHour().Prune(ctx, registry.Retention{Keep: 1})
	if err != nil || !slices.Equal(gone, []dg.ModelRef{a}) {
		t.Errorf("pruned %v, %v, want %s and not %s", gone, err, a.Short(), b.Short())
	}
	if _, err := w.store.Stat(ctx, w.bucket, hold); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("the dead holder's hold stayed: %v", err)
	}
}

func TestAModelIsNeverDeletedWhileItBecomesChampion(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	now := w.promote(w.save(1), dg.Champion{}, "")
	pruner := w.later(time.Hour)
	promoted, pruned := 0, 0
	for round := range 12 {
		old := w.save(uint64(10 + 2*round))
		_ = w.save(uint64(11 + 2*round)) // a newer one, so that the other may go
		var wg sync.WaitGroup
		var promoteErr, pruneErr error
		wg.Go(func() {
			time.Sleep(time.Duration(round) * 3 * time.Millisecond) // from well before the deletion to well after
			_, promoteErr = w.open().Promote(ctx, old, now, "gate", "")
		})
		wg.Go(func() { _, pruneErr = pruner.Prune(ctx, registry.Retention{Keep: 1}) })
		wg.Wait()
		if pruneErr != nil {
			t.Fatalf("round %d: prune: %v", round, pruneErr)
		}
		if promoteErr == nil {
			promoted++
		} else if !errors.Is(promoteErr, dg.ErrConflict) && !errors.Is(promoteErr, dg.ErrNotFound) {
			t.Fatalf("round %d: promote: %v", round, promoteErr)
		} else {
			pruned++
		}
		var err error
		if now, err = w.Champion(ctx); err != nil {
			t.Fatal(err)
		}
		if (promoteErr == nil) != (now.Version == old) {
			t.Fatalf("round %d: promotion said %v, the record names %s", round, promoteErr, now.Version.Short())
		}
		if _, err := w.Load(ctx, now.Version); err != nil {
			t.Fatalf("round %d: the champion cannot be loaded: %v", round, err)
		}
	}
	t.Logf("%d promotions came first, %d deletions", promoted, pruned)
	if keys, err := w.store.Bucket(w.bucket).Keys(ctx, "holds/"); err != nil || len(keys) != 0 {
		t.Errorf("holds left behind: %v, %v", keys, err)
	}
}

func TestOldStyleUploads(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	ref := w.save(1)
	at := time.Date(2026, 3, 1, 13, 5, 9, 0, time.FixedZone("", 3600))
	for range 2 {
		keys, err := w.UploadOldStyle(ctx, ref, at)
		want := []string{"model/2026-03-01-12:05:09_labels.txt", "model/2026-03-01-12:05:09_manifest.json",
			"model/2026-03-01-12:05:09_model.onnx", "model/2026-03-01-12:05:09_weights.safetensors"}
		if err != nil || !slices.Equal(keys, want) {
			t.Fatalf("uploaded %v, %v", keys, err)
		}
	}
	b, _, err := w.store.Get(ctx, w.bucket, "model/2026-03-01-12:05:09_labels.txt")
	if err != nil || string(b) != string(filesOf(t, 1)[network.LabelsFile]) {
		t.Errorf("labels %q, %v", b, err)
	}
	if got := w.stored(); len(got) != 1 {
		t.Errorf("the copies are taken for models: %v", got)
	}
	_, err = w.UploadOldStyle(ctx, network.Digest(filesOf(t, 9)), at)
	wantKind(t, "upload what is not saved", err, dg.ErrNotFound)
}

func TestEveryFileOfAStoredModelIsCheckedAtEveryPosition(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	ref := w.save(1)
	for file, content := range filesOf(t, 1) {
		for k := range 10 {
			at := (len(content) - 1) * k / 9
			altered := slices.Clone(content)
			altered[at] ^= 1 << (k % 8)
			w.put(w.key(ref, file), altered)
			if _, err := w.Load(ctx, ref); !errors.Is(err, dg.ErrInvalid) {
				t.Errorf("%s, byte %d of %d altered: error %v, want ErrInvalid", file, at, len(content), err)
			}
		}
		w.put(w.key(ref, file), content)
	}
	if _, err := w.Load(ctx, ref); err != nil {
		t.Errorf("put back: %v", err)
	}
}

func TestAManifestOfANewerVersionIsNamedAndNotFollowed(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	now := w.promote(w.save(1), dg.Champion{}, "")
	newer := dg.ModelRef("sha256:" + "ab12" + string(w.save(2))[11:])
	w.put(w.key(newer, network.ManifestFile), []byte(`{"format_version":4,"shards":["a","b"]}`))
	_, err := w.Load(ctx, newer)
	wantKind(t, "load", err, dg.ErrInvalid)
	if err == nil || !errors.Is(err, dg.ErrInvalid) || !containsAll(err.Error(), "format version 4", "reads 1 to 3", "a newer driftgate reads it") {
		t.Errorf("load: %v", err)
	}
	_, err = w.Promote(ctx, newer, now, "gate", "")
	wantKind(t, "promote", err, dg.ErrInvalid)
	v, err := w.Verify(ctx, newer)
	if err != nil || v.OK || v.Problem == "" {
		t.Errorf("verified as %+v, %v", v, err)
	}
}

func containsAll(s string, parts ...string) bool {
	return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(s, p) })
}
