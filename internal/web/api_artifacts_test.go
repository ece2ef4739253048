package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/registry"
)

// fakeArtifacts exports what it is told to, and fails where it is told to.
type fakeArtifacts struct {
	before, within error // before the first byte, and after it
	imported       string
	policy         registry.Retention
}

func (f *fakeArtifacts) Export(_ context.Context, ref dg.ModelRef, w io.Writer) error {
	if f.before != nil {
		return f.before
	}
	if _, err := io.WriteString(w, "archive of "+ref.Short()); err != nil {
		return err
	}
	return f.within
}

func (f *fakeArtifacts) Import(_ context.Context, r io.Reader) (dg.ModelRef, error) {
	b, err := io.ReadAll(r)
	if f.imported = string(b); err != nil || f.before != nil {
		return "", errors.Join(err, f.before)
	}
	return freshRef, nil
}

func (f *fakeArtifacts) ONNX(context.Context, dg.ModelRef) ([]byte, error) {
	return []byte("graph"), f.before
}
func (f *fakeArtifacts) Sign(context.Context, dg.ModelRef) error { return f.before }
func (f *fakeArtifacts) Verify(_ context.Context, ref dg.ModelRef) (registry.Verification, error) {
	return registry.Verification{Ref: ref, OK: true, Signature: registry.SignatureTrusted}, nil
}
func (f *fakeArtifacts) Retention() registry.Retention {
	return registry.Retention{Younger: 720 * time.Hour, Generations: 10}
}
func (f *fakeArtifacts) Prune(_ context.Context, p registry.Retention) ([]dg.ModelRef, error) {
	f.policy = p
	return []dg.ModelRef{oldRef}, nil
}

// artifactServer serves f, or no store of models when f is nil.
func artifactServer(t *testing.T, f *fakeArtifacts) *server {
	t.Helper()
	d := newFake().deps()
	if f != nil {
		d.Artifacts = f
	}
	s, err := newServer(d, Options{Model: "garments", Token: testToken, RatePerSecond: -1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestModelsAreFetchedAndTakenInAsFiles(t *testing.T) {
	f := &fakeArtifacts{}
	s := artifactServer(t, f)
	w := do(s, "GET", "/api/v1/models/champion/export", bearer(testToken))
	if w.Code != http.StatusOK || w.Body.String() != "archive of "+champRef.Short() || !strings.Contains(w.Header().Get("Content-Disposition"), champRef.Short()+".tar") {
		t.Errorf("export: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := do(s, "GET", "/api/v1/models/champion/onnx", bearer(testToken)); w.Code != http.StatusOK || w.Body.String() != "graph" {
		t.Errorf("onnx: %d %s", w.Code, w.Body)
	}
	w = send(s, "POST", "/api/v1/models/import", "the file", bearer(testToken), header("Content-Type", "application/x-tar"))
	if w.Code != http.StatusOK || f.imported != "the file" || !strings.Contains(w.Body.String(), freshRef.Short()) {
		t.Errorf("import: %d %s, read %q", w.Code, w.Body, f.imported)
	}
}

func TestAFailedExportIsAnErrorAndNeverHalfAFile(t *testing.T) {
	s := artifactServer(t, &fakeArtifacts{before: fmt.Errorf("not signed: sign it: %w", dg.ErrRefused)})
	for _, route := range []string{"/api/v1/models/champion/export", "/api/v1/models/champion/onnx"} {
		w := do(s, "GET", route, bearer(testToken))
		if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "sign it") || w.Header().Get("Content-Disposition") != "" {
			t.Errorf("%s: %d %v %s", route, w.Code, w.Header(), w.Body)
		}
	}
	s = artifactServer(t, &fakeArtifacts{within: errors.New("the store is away")})
	defer func() {
		if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // net/http compares it like that
			t.Errorf("panicked with %v, want the connection to be cut", p)
		}
	}()
	do(s, "GET", "/api/v1/models/champion/export", bearer(testToken))
	t.Error("half a file was answered as a whole one")
}

func TestPruningTakesWhatIsNotSaidFromTheConfiguration(t *testing.T) {
	f := &fakeArtifacts{}
	s := artifactServer(t, f)
	if w := send(s, "POST", "/api/v1/models/prune", `{}`, bearer(testToken), header("Content-Type", "application/json")); w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "models.keep") {
		t.Errorf("no policy: %d %s", w.Code, w.Body)
	}
	w := send(s, "POST", "/api/v1/models/prune", `{"keep":3,"younger":"1h","dry_run":true}`, bearer(testToken), header("Content-Type", "application/json"))
	var out pruneBody
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusOK || !out.DryRun || len(out.Deleted) != 1 {
		t.Errorf("prune: %d %s, %v", w.Code, w.Body, err)
	}
	if want := (registry.Retention{Keep: 3, Younger: time.Hour, Generations: 10, DryRun: true}); f.policy != want {
		t.Errorf("pruned by %+v, want %+v", f.policy, want)
	}
}

func TestWithoutAStoreOfModelsTheRoutesSaySo(t *testing.T) {
	s := artifactServer(t, nil)
	for _, r := range [][2]string{{"GET", "champion/export"}, {"GET", "champion/onnx"}, {"GET", "champion/verify"}, {"POST", "champion/sign"}, {"POST", "import"}} {
		if w := do(s, r[0], "/api/v1/models/"+r[1], bearer(testToken)); w.Code != http.StatusNotImplemented {
			t.Errorf("%v: %d %s", r, w.Code, w.Body)
		}
	}
}
