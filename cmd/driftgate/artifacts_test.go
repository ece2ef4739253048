package main

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
	"driftgate/internal/onnx"
	"driftgate/internal/registry"
)

// modelsIn puts models into a folder's bucket, the first as champion.
func modelsIn(t *testing.T, dir string, n int) []driftgate.ModelRef {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Options{Dir: filepath.Join(dir, "objects")})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	access, secret := server.Credentials()
	store, err := objstore.Open(objstore.Options{Endpoint: server.Endpoint(), AccessKey: access, SecretKey: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	b := objstore.DefaultBuckets("")
	if err := store.EnsureBuckets(t.Context(), b.All()...); err != nil {
		t.Fatal(err)
	}
	reg := registry.New(store, b.Models, registry.Options{Model: "classifier"})
	p := dataset.GarmentPreprocessing()
	spec := network.MLP(network.Flat(p.Size()), []int{4}, len(driftgate.FashionMNIST))
	var refs []driftgate.ModelRef
	for seed := range n {
		rng := rand.New(rand.NewPCG(uint64(seed), 3))
		a := &network.Artifact{Weights: network.NewWeights(spec, rng), Manifest: network.Manifest{Model: "classifier", Spec: spec,
			Classes: driftgate.FashionMNIST, Preprocessing: p, Calibration: network.Calibration{Temperature: 1}}}
		if err := a.RecordSelfTest([][]byte{dataset.Garment(seed%10, dataset.Drift{}, rng)}); err != nil {
			t.Fatal(err)
		}
		files, err := a.Files()
		if err != nil {
			t.Fatal(err)
		}
		ref, err := reg.Save(t.Context(), files)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	if _, err := reg.Promote(t.Context(), refs[0], driftgate.Champion{}, "first", ""); err != nil {
		t.Fatal(err)
	}
	return refs
}

// driven runs a command that must succeed and returns what it printed.
func driven(t *testing.T, args ...string) string {
	t.Helper()
	code, out, stderr := drive(t, args...)
	if code != exitDone {
		t.Fatalf("%v: exit code %d\n%s%s", args, code, out, stderr)
	}
	return out
}

func TestAModelIsCarriedToAnotherInstallation(t *testing.T) {
	work := t.TempDir()
	// Paths are relative, and the embedded store changes the directory.
	driven := func(t *testing.T, args ...string) string { t.Helper(); t.Chdir(work); return driven(t, args...) }
	drive := func(t *testing.T, args ...string) (int, string, string) {
		t.Helper()
		t.Chdir(work)
		return drive(t, args...)
	}
	here, there := t.TempDir(), t.TempDir()
	refs := modelsIn(t, here, 1)
	short := refs[0].Short()
	if out := driven(t, "models", "keygen", "signing.pem"); !strings.Contains(out, "models.trusted_keys") {
		t.Errorf("keygen prints %s", out)
	}
	if info, err := os.Stat(filepath.Join(work, "signing.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", info, err)
	}
	if code, _, _ := drive(t, "models", "keygen", "signing.pem"); code != exitFailed {
		t.Errorf("a key was overwritten: exit code %d", code)
	}
	trust := []string{"--set", "models.trusted_keys=signing.pem.pub"}
	code, out, stderr := drive(t, append([]string{"models", "verify", "--dir", here}, trust...)...)
	if code != exitFailed || !strings.Contains(out, "not signed") || !strings.Contains(stderr, "1 of 1 versions would not be loaded") {
		t.Errorf("verify of an unsigned model: exit code %d\n%s%s", code, out, stderr)
	}
	code, _, stderr = drive(t, append([]string{"models", "export", short, "none.tar", "--dir", here}, trust...)...)
	if code != exitRefused || !strings.Contains(stderr, "models sign "+short) {
		t.Errorf("export of an unsigned model: exit code %d\n%s", code, stderr)
	}
	driven(t, "models", "sign", short, "--dir", here, "--set", "models.signing_key=signing.pem")
	if out := driven(t, append([]string{"models", "show", "champion", "--dir", here}, trust...)...); !strings.Contains(out, "trusted") || !strings.Contains(out, short) || !strings.Contains(out, "mlp: dense 4, dense 10; 3,190 weights") {
		t.Errorf("show prints\n%s", out)
	}
	driven(t, "models", "export", short, "model.tar", "--dir", here)
	for range 2 {
		if out := driven(t, append([]string{"models", "import", "model.tar", "--dir", there}, trust...)...); !strings.Contains(out, "imported "+short) {
			t.Errorf("import prints\n%s", out)
		}
	}
	if out := driven(t, append([]string{"models", "verify", short[:6], "--dir", there, "--format", "json"}, trust...)...); !strings.Contains(out, `"trusted"`) {
		t.Errorf("verify there prints\n%s", out)
	}
	b, err := os.ReadFile(filepath.Join(work, "model.tar"))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(filepath.Join(work, "altered.tar"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := drive(t, "models", "import", "altered.tar", "--dir", there); code != exitUsage || !strings.Contains(stderr, "altered") {
		t.Errorf("import of an altered file: exit code %d\n%s", code, stderr)
	}
	driven(t, "models", "show", short, "--onnx", "model.onnx", "--dir", there)
	graph, err := os.ReadFile(filepath.Join(work, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := onnx.Decode(graph); err != nil || len(m.Graph.GetNode()) == 0 {
		t.Errorf("no graph: %v", err)
	}
	driven(t, "demo", "picture", "shoe.png")
	if code, _, stderr := drive(t, "predict", "shoe.png", "none.png", "--dir", here); code != exitFailed || strings.Contains(stderr, "shoe.png:") || !strings.Contains(stderr, "none.png") {
		t.Errorf("predict beside a file that is not there: exit code %d\n%s", code, stderr)
	}
	driven(t, "labels", "export", "--output", "labels.csv", "--dir", here)
	if _, err := os.Stat(filepath.Join(work, "labels.csv")); err != nil {
		t.Error(err)
	}
	if code, _, stderr := drive(t, "models", "export", "ffffffff", "none.tar", "--dir", there); code != exitFailed || !strings.Contains(stderr, "no such model") {
		t.Errorf("export of nothing: exit code %d\n%s", code, stderr)
	}
	if left, err := filepath.Glob(filepath.Join(work, "*none.tar*")); err != nil || len(left) > 0 {
		t.Errorf("the failed export left %v", left)
	}
}

func TestModelsArePruned(t *testing.T) {
	dir := t.TempDir()
	refs := modelsIn(t, dir, 4)
	if code, _, stderr := drive(t, "models", "prune", "--dir", dir); code != exitUsage || !strings.Contains(stderr, "models.keep") {
		t.Errorf("prune without a policy: exit code %d\n%s", code, stderr)
	}
	dry := driven(t, "models", "prune", "--dir", dir, "--keep", "1", "--younger", "0s", "--dry-run", "--format", "json")
	var out struct{ Deleted []driftgate.ModelRef }
	if err := json.Unmarshal([]byte(dry), &out); err != nil || len(out.Deleted) != 2 {
		t.Fatalf("a dry run prints %s, %v; want two", dry, err)
	}
	if got := driven(t, "models", "prune", "--dir", dir, "--keep", "1"); !strings.Contains(got, "deleted 0 versions") {
		t.Errorf("models of today went: %s", got)
	}
	if got := driven(t, "models", "prune", "--dir", dir, "--keep", "1", "--younger", "0s"); !strings.Contains(got, "deleted 2 versions") {
		t.Errorf("prune prints %s", got)
	}
	list := driven(t, "models", "list", "--dir", dir)
	if !strings.Contains(list, refs[0].Short()) || strings.Contains(list, out.Deleted[0].Short()) {
		t.Errorf("left:\n%s", list)
	}
}
