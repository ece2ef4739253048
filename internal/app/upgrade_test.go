package app

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"driftgate"
	"driftgate/internal/config"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
)

// inherit makes c's folder the one that the binary of commit 7da3c92 left.
// Objects go in through S3, as git keeps no extended attributes.
func inherit(t *testing.T, c config.Config) {
	t.Helper()
	f, err := os.Open("testdata/folder-7da3c92.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		if key, ok := strings.CutPrefix(name, "objects/objects/models/"); ok {
			objects[key] = b
		} else {
			write(t, filepath.Join(c.Dir, name), string(b), 0o600)
		}
	}
	server, err := embedded.Start(t.Context(), embedded.Options{Dir: filepath.Join(c.Dir, "objects")})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	access, secret := server.Credentials()
	store, err := objstore.Open(objstore.Options{Endpoint: server.Endpoint(), AccessKey: access, SecretKey: secret})
	if err != nil {
		t.Fatal(err)
	}
	b := objstore.DefaultBuckets("")
	if err := store.EnsureBuckets(t.Context(), b.All()...); err != nil {
		t.Fatal(err)
	}
	for key, body := range objects {
		if err := store.Bucket(b.Models).Put(t.Context(), key, body); err != nil {
			t.Fatal(err)
		}
	}
}

// started runs a gateway on c until stop, and returns a client of it.
func started(t *testing.T, c config.Config) (client *Client, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a, err := New(ctx, Options{Config: c})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	client = NewClient(a.Address(), a.Token())
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := errors.Join(client.Close(), <-done); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	patient, enough := context.WithTimeout(ctx, 20*time.Second)
	defer enough()
	if err := Retry(patient, 20*time.Millisecond, func() error { return client.Get(patient, "/-/ready", nil) }); err != nil {
		t.Fatalf("never ready: %v", err)
	}
	return client, stop
}

func TestAFolderOfAnEarlierBuildServesOn(t *testing.T) {
	c := folder(t)
	inherit(t, c)
	cold, lines := looked(t, c)
	if !cold.OK || lines["ledger"].Status != CheckWarn || !strings.Contains(lines["ledger"].Detail, "schema 3: the next start brings it to") ||
		!strings.Contains(lines["champion"].Detail, "2a7f9b083279, generation 3") {
		t.Errorf("before the upgrade: %+v", cold)
	}
	client, _ := started(t, c)
	warm, lines := looked(t, c)
	if !warm.OK || lines["ledger"].Status != CheckOK || lines["champion"].Status != CheckOK {
		t.Errorf("after it: %+v", warm)
	}
	var models struct {
		Models  []struct{ Version, Role string }
		History []driftgate.Champion
	}
	list := func() {
		t.Helper()
		if err := client.Get(t.Context(), "/api/v1/models", &models); err != nil {
			t.Fatal(err)
		}
	}
	list()
	if len(models.Models) != 2 || len(models.History) != 3 {
		t.Fatalf("models %+v, want 2 artifacts and 3 records", models)
	}
	if c := models.History[0]; c.Generation != 3 || c.Reason != "rollback: fixture" || c.Version.Short() != "2a7f9b083279" {
		t.Errorf("champion %+v", c)
	}
	var history json.RawMessage
	if err := client.Get(t.Context(), "/api/v1/runs", &history); err != nil {
		t.Fatal(err)
	}
	for _, run := range []string{"train-classifier-939f26b6", "train-classifier-13c6bf77"} {
		if !strings.Contains(string(history), run) {
			t.Errorf("run %s is not in the history: %s", run, history)
		}
	}
	// What the new build writes must come after what the old one wrote.
	if err := client.Post(t.Context(), "/api/v1/promote", map[string]string{"ref": "1a38f2e3", "reason": "upgraded"}, nil); err != nil {
		t.Fatal(err)
	}
	list()
	if c := models.History[0]; c.Generation != 4 || !strings.Contains(c.Reason, "upgraded") || c.Version.Short() != "1a38f2e3a1a2" {
		t.Errorf("after a promotion: %+v", c)
	}
}
