package embedded_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
	"driftgate/internal/objstore/objstoretest"
)

func serve(t *testing.T, dir string) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(t.Context(), embedded.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func client(t *testing.T, s *embedded.Server) *objstore.Store {
	t.Helper()
	access, secret := s.Credentials()
	store, err := objstore.Open(objstore.Options{Endpoint: s.Endpoint(), AccessKey: access, SecretKey: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

func TestConformance(t *testing.T) {
	s := serve(t, t.TempDir())
	objstoretest.Run(t, func(t *testing.T) *objstore.Store { return client(t, s) })
}

func TestRestartOnTheSameFolder(t *testing.T) {
	dir := t.TempDir()
	before, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	first, err := embedded.Start(t.Context(), embedded.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir()}); !errors.Is(err, dg.ErrBusy) {
		t.Errorf("second server: error %v, want %v", err, dg.ErrBusy)
	}
	store := client(t, first)
	tags := map[string]string{"predicted_class": "Noodles/Pasta"}
	if err := store.EnsureBuckets(t.Context(), "models"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), "models", "a/b/c", []byte("body"), objstore.PutOptions{Tags: tags}); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	if err := errors.Join(first.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(stopped); took > 3*time.Second {
		t.Errorf("closing took %s, with one idle client", took)
	}
	l, err := net.Listen("tcp", strings.TrimPrefix(first.Endpoint(), "http://"))
	if err != nil {
		t.Errorf("the port is not free after Close: %v", err)
	} else {
		l.Close()
	}
	if after, _ := os.Getwd(); after != before {
		t.Errorf("working directory is %s after Close, want %s", after, before)
	}
	staged := filepath.Join(dir, "objects", "models", ".sgwtmp", "left-over")
	if err := os.WriteFile(staged, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}

	second := serve(t, dir)
	a1, s1 := first.Credentials()
	a2, s2 := second.Credentials()
	if a1 != a2 || s1 != s2 {
		t.Error("the restarted server has other credentials")
	}
	store = client(t, second)
	body, _, err := store.Get(t.Context(), "models", "a/b/c")
	if err != nil || string(body) != "body" {
		t.Errorf("after the restart: %q, %v", body, err)
	}
	if found, err := store.Tags(t.Context(), "models", "a/b/c"); err != nil || found["predicted_class"] != "Noodles/Pasta" {
		t.Errorf("after the restart: tags %v, %v", found, err)
	}
	if _, err := os.Stat(staged); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was staged and never acknowledged is still there: %v", err)
	}
}

// Go's http.Transport opens connections that it then does not need; the
// gateway alone would wait ten seconds for each of them to say something.
func TestCloseDoesNotWaitForUnusedConnections(t *testing.T) {
	s, err := embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(s.Endpoint(), "http://")
	for range 3 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if err := client(t, s).Ready(t.Context()); err != nil { // leaves an idle one
		t.Error(err)
	}
	started := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(started); took > 2*time.Second {
		t.Errorf("closing took %s", took)
	}
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("the port still answers after Close")
	}
}

func TestCredentialsAreForTheOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir)
	info, err := os.Stat(filepath.Join(dir, "credentials.json"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("credentials have mode %v, want 0600", info.Mode().Perm())
	}
	if access, secret := s.Credentials(); access == "" || len(secret) < 40 {
		t.Errorf("credentials %q, %d characters of secret", access, len(secret))
	}
	if !strings.HasPrefix(s.Endpoint(), "http://127.0.0.1:") {
		t.Errorf("endpoint %s, want loopback", s.Endpoint())
	}
}

func TestStartRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "credentials.json"), []byte(`{"access_key":"a"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct {
		name string
		o    embedded.Options
		want string
	}{
		{"no folder", embedded.Options{}, "no folder"},
		{"a file for a folder", embedded.Options{Dir: file}, "not a directory"},
		{"half credentials", embedded.Options{Dir: broken}, "want access_key and secret_key"},
		{"an address without port", embedded.Options{Dir: t.TempDir(), Address: "localhost"}, "want host:port"},
		{"a port that is taken", embedded.Options{Dir: t.TempDir(), Address: taken.Addr().String()}, "address already in use"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, _ := os.Getwd()
			s, err := embedded.Start(t.Context(), tt.o)
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
			if after, _ := os.Getwd(); after != before {
				t.Errorf("working directory is %s, want %s", after, before)
			}
		})
	}
}

// TestPutsPerSecond reports a figure; it fails only below a floor that any
// disk with a write cache reaches.
func TestPutsPerSecond(t *testing.T) {
	store := client(t, serve(t, t.TempDir()))
	if err := store.EnsureBuckets(t.Context(), "production"); err != nil {
		t.Fatal(err)
	}
	const clients, each = 8, 100
	body := make([]byte, 800)
	start := time.Now()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				_, err := store.Put(t.Context(), "production", fmt.Sprintf("class_%02d/%d-%d.png", i%10, c, i), body, objstore.PutOptions{
					ContentType: "image/png",
					Tags:        map[string]string{"predicted_class": "Ankle boot", "confidence": "0.873", "timestamp": "2026-11-22T03:40:00Z", "model_version": "0123456789ab"},
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	rate := clients * each / time.Since(start).Seconds()
	t.Logf("%.0f durable puts a second with %d clients", rate, clients)
	if rate < 50 {
		t.Errorf("%.0f puts a second, want at least 50", rate)
	}
}
