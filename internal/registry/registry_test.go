package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
	"driftgate/internal/registry"
)

// One embedded server for the whole package; every test has its own bucket.
var server *embedded.Server

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "driftgate-registry")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if server, err = embedded.Start(context.Background(), embedded.Options{Dir: dir}); err != nil {
		panic(err)
	}
	defer server.Close()
	return m.Run()
}

type world struct {
	*registry.Registry
	t      *testing.T
	store  *objstore.Store
	bucket string
	logs   *bytes.Buffer
	log    *slog.Logger
}

func newWorld(t *testing.T) *world {
	t.Helper()
	access, secret := server.Credentials()
	store, err := objstore.Open(objstore.Options{Endpoint: server.Endpoint(), AccessKey: access, SecretKey: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	w := &world{t: t, store: store, bucket: fmt.Sprintf("models-%d", time.Now().UnixNano()), logs: &bytes.Buffer{}}
	w.log = slog.New(slog.NewTextHandler(w.logs, nil))
	if err := store.EnsureBuckets(t.Context(), w.bucket); err != nil {
		t.Fatal(err)
	}
	w.Registry = w.open()
	return w
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)

// open returns another process's view of the registry.
func (w *world) open() *registry.Registry {
	return registry.New(w.store, w.bucket, registry.Options{Model: "garments",
		Now: func() time.Time { return noon }, Logger: w.log})
}

// filesOf makes a small valid artifact; seed makes it another.
func filesOf(t *testing.T, seed uint64) map[string][]byte {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	p := dataset.GarmentPreprocessing()
	s := network.MLP(network.Flat(p.Size()), []int{4}, len(dg.FashionMNIST))
	a := &network.Artifact{
		Manifest: network.Manifest{Model: "garments", Spec: s, Classes: dg.FashionMNIST, Preprocessing: p, Seed: seed,
			Dataset: "synthetic@0123456789ab", TrainedOn: []string{"train/00001"}, Calibration: network.Calibration{Temperature: 1},
			StartedAt: noon, FinishedAt: noon},
		Weights: network.NewWeights(s, rng),
	}
	if err := a.RecordSelfTest([][]byte{dataset.Garment(1, dataset.Drift{}, rng)}); err != nil {
		t.Fatal(err)
	}
	files, err := a.Files()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (w *world) save(seed uint64) dg.ModelRef {
	w.t.Helper()
	ref, err := w.Save(w.t.Context(), filesOf(w.t, seed))
	if err != nil {
		w.t.Fatal(err)
	}
	return ref
}

func (w *world) promote(ref dg.ModelRef, seen dg.Champion, runID string) dg.Champion {
	w.t.Helper()
	c, err := w.Promote(w.t.Context(), ref, seen, "gate: better", runID)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// back rolls back whatever serves.
func (w *world) back(reason string) (dg.Champion, error) {
	w.t.Helper()
	seen, err := w.Champion(w.t.Context())
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		w.t.Fatal(err)
	}
	return w.Rollback(w.t.Context(), seen, reason)
}

func (w *world) key(ref dg.ModelRef, file string) string {
	return "artifacts/" + strings.TrimPrefix(string(ref), "sha256:") + "/" + file
}

func (w *world) put(key string, body []byte) {
	w.t.Helper()
	if _, err := w.store.Put(w.t.Context(), w.bucket, key, body, objstore.PutOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func wantKind(t *testing.T, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: error %v, want %v", what, err, kind)
	}
}

func TestSaveAndLoad(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	files := filesOf(t, 1)
	ref := w.save(1)
	if again := w.save(1); again != ref || ref != network.Digest(files) {
		t.Errorf("saved as %s and again as %s, digest %s", ref, again, network.Digest(files))
	}
	a, err := w.Load(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := a.Files()
	if err != nil || !maps.EqualFunc(stored, files, bytes.Equal) {
		t.Errorf("the loaded artifact has other files, %v", err)
	}
	keys, err := w.store.Bucket(w.bucket).Keys(ctx, "")
	if err != nil || len(keys) != 4 {
		t.Errorf("the bucket holds %v, %v, want the four files", keys, err)
	}
	_, err = w.Load(ctx, dg.ModelRef("sha256:"+strings.Repeat("0", 64)))
	wantKind(t, "load what was never saved", err, dg.ErrNotFound)
	for _, bad := range []dg.ModelRef{"", "sha256:", "champion", "sha256:../../etc", ref + "0", dg.ModelRef(strings.ToUpper(string(ref)))} {
		_, err = w.Load(ctx, bad)
		wantKind(t, fmt.Sprintf("load %q", bad), err, dg.ErrInvalid)
	}
	delete(files, network.LabelsFile)
	_, err = w.Save(ctx, files)
	wantKind(t, "save without labels", err, dg.ErrInvalid)
}

func TestAPartialUploadIsNoModel(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	files := filesOf(t, 1)
	ref := network.Digest(files)
	w.put(w.key(ref, network.WeightsFile), files[network.WeightsFile])
	_, err := w.Load(ctx, ref)
	wantKind(t, "load", err, dg.ErrNotFound)
	if models, err := w.Models(ctx); err != nil || len(models) != 0 {
		t.Errorf("listed %v, %v, want nothing", models, err)
	}
	if got := w.save(1); got != ref { // the upload goes on
		t.Errorf("saved as %s, want %s", got, ref)
	}
	if _, err := w.Load(ctx, ref); err != nil {
		t.Error(err)
	}
}

func TestAlteredArtifactsAreRefused(t *testing.T) {
	for _, file := range []string{network.WeightsFile, network.ONNXFile, network.LabelsFile, network.ManifestFile} {
		t.Run(file, func(t *testing.T) {
			w, ctx := newWorld(t), t.Context()
			ref := w.save(1)
			altered := bytes.Clone(filesOf(t, 1)[file])
			altered[len(altered)-2] ^= 1
			w.put(w.key(ref, file), altered)
			_, err := w.Load(ctx, ref)
			wantKind(t, "load", err, dg.ErrInvalid)
			_, err = w.Promote(ctx, ref, dg.Champion{}, "first", "")
			wantKind(t, "promote", err, dg.ErrInvalid)
			_, err = w.Champion(ctx)
			wantKind(t, "champion after the refusal", err, dg.ErrNotFound)
			_, err = w.Save(ctx, filesOf(t, 1))
			wantKind(t, "save over it", err, dg.ErrConflict)
		})
	}
	t.Run("another whole artifact under its name", func(t *testing.T) {
		w := newWorld(t)
		ref := w.save(1)
		for file, content := range filesOf(t, 2) {
			w.put(w.key(ref, file), content)
		}
		_, err := w.Load(t.Context(), ref)
		wantKind(t, "load", err, dg.ErrInvalid)
	})
}

func TestPromoteMovesTheRecord(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	a, b := w.save(1), w.save(2)
	_, err := w.Champion(ctx)
	wantKind(t, "champion before any", err, dg.ErrNotFound)

	first := w.promote(a, dg.Champion{}, "run-1")
	want := dg.Champion{Model: "garments", Version: a, Generation: 1, PromotedAt: noon.Truncate(time.Second), Reason: "gate: better", RunID: "run-1", ETag: first.ETag}
	if first != want || first.ETag == "" {
		t.Errorf("first champion %+v, want %+v and an ETag", first, want)
	}
	if now, err := w.open().Champion(ctx); err != nil || now != first {
		t.Errorf("the record is %+v, %v, want %+v", now, err, first)
	}
	second := w.promote(b, first, "run-2")
	if second.Version != b || second.Previous != a || second.Generation != 2 {
		t.Errorf("second champion %+v, want %s over %s in generation 2", second, b, a)
	}
	_, err = w.Promote(ctx, a, first, "late", "run-3")
	wantKind(t, "promote with a stale sight", err, dg.ErrConflict)
	_, err = w.Promote(ctx, a, dg.Champion{}, "first", "run-4")
	wantKind(t, "promote as the first", err, dg.ErrConflict)
	_, err = w.Promote(ctx, dg.ModelRef("sha256:"+strings.Repeat("1", 64)), second, "gate", "")
	wantKind(t, "promote what is not saved", err, dg.ErrNotFound)
	if now, err := w.Champion(ctx); err != nil || now != second {
		t.Errorf("after the refusals the record is %+v, %v, want %+v", now, err, second)
	}
	// Sight that travelled through JSON has no ETag.
	sight := second
	sight.ETag = ""
	if third := w.promote(a, sight, "run-5"); third.Generation != 3 {
		t.Errorf("generation %d, want 3", third.Generation)
	}
	_, err = w.Promote(ctx, b, sight, "gate", "run-6")
	wantKind(t, "promote with a stale sight without ETag", err, dg.ErrConflict)
}

func TestARunPromotesOnce(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	a, b := w.save(1), w.save(2)
	first := w.promote(a, dg.Champion{}, "run-1")
	second := w.promote(b, first, "run-2")
	if again := w.promote(b, first, "run-2"); again != second {
		t.Errorf("repeated: %+v, want the same %+v", again, second)
	}
	back, err := w.back("it is worse")
	if err != nil {
		t.Fatal(err)
	}
	// The step is run again after the rollback, even with fresh sight.
	again := w.promote(b, back, "run-2")
	if again.Generation != 2 || again.Version != b {
		t.Errorf("repeated after the rollback: %+v, want the record of generation 2", again)
	}
	if now, err := w.Champion(ctx); err != nil || now.Version != a || now.Generation != 3 {
		t.Errorf("the record is %+v, %v, want the rolled back %s", now, err, a.Short())
	}
	if same := w.promote(a, back, "run-9"); same != back {
		t.Errorf("promoting the champion itself gave %+v, want %+v", same, back)
	}
}

func TestRacingPromotions(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	seen := w.promote(w.save(1), dg.Champion{}, "run-1")
	const racers = 6
	refs := make([]dg.ModelRef, racers)
	for i := range refs {
		refs[i] = w.save(uint64(10 + i))
	}
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		r := w.open()
		wg.Go(func() { _, errs[i] = r.Promote(ctx, refs[i], seen, "gate", fmt.Sprint("racer-", i)) })
	}
	wg.Wait()
	now, err := w.Champion(ctx)
	if err != nil {
		t.Fatal(err)
	}
	won := 0
	for i, err := range errs {
		if err == nil {
			won++
			if now.Version != refs[i] || now.RunID != fmt.Sprint("racer-", i) {
				t.Errorf("racer %d was told it won, the record names %s of %s", i, now.Version.Short(), now.RunID)
			}
			continue
		}
		wantKind(t, fmt.Sprintf("racer %d", i), err, dg.ErrConflict)
	}
	if won != 1 || now.Generation != 2 {
		t.Errorf("%d racers won, generation %d, want one and 2", won, now.Generation)
	}
}

func TestResolve(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	_, err := w.Resolve(ctx, "latest")
	wantKind(t, "latest of nothing", err, dg.ErrNotFound)
	a := w.save(1)
	time.Sleep(1100 * time.Millisecond) // S3 tells times of listings by the second
	b := w.save(2)
	first := w.promote(a, dg.Champion{}, "")
	_, err = w.Resolve(ctx, "previous")
	wantKind(t, "previous of the first", err, dg.ErrNotFound)
	w.promote(b, first, "")
	for short, want := range map[string]dg.ModelRef{
		"champion": b, "previous": a, "latest": b, string(a): a, a.Short(): a, string(b)[:15]: b, strings.ToUpper(b.Short()[:9]): b,
	} {
		if got, err := w.Resolve(ctx, short); err != nil || got != want {
			t.Errorf("Resolve(%q) = %s, %v, want %s", short, got, err, want)
		}
	}
	for short, kind := range map[string]error{"": dg.ErrInvalid, "abc": dg.ErrInvalid, "wxyz": dg.ErrInvalid, "../..": dg.ErrInvalid,
		string(a) + "00": dg.ErrInvalid, strings.Repeat("0", 12): dg.ErrNotFound} {
		_, err := w.Resolve(ctx, short)
		wantKind(t, fmt.Sprintf("Resolve(%q)", short), err, kind)
	}
	twin := "sha256:" + a.Short() + strings.Repeat("f", 52)
	w.put(w.key(dg.ModelRef(twin), network.ManifestFile), []byte("{}"))
	_, err = w.Resolve(ctx, a.Short())
	wantKind(t, "an ambiguous prefix", err, dg.ErrInvalid)

	models, err := w.Models(ctx)
	if err != nil {
		t.Fatal(err)
	}
	roles := map[dg.ModelRef]string{}
	for _, m := range models {
		roles[m.Ref] = m.Role
	}
	if roles[a] != registry.RolePrevious || roles[b] != registry.RoleChampion || roles[dg.ModelRef(twin)] != registry.RoleCandidate {
		t.Errorf("roles %v", roles)
	}
}
