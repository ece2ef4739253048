package app

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"driftgate"
	"driftgate/internal/config"
	"driftgate/internal/estimate"
	"driftgate/metrics"
)

func TestOneProcessOwnsAFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "deep")
	first, err := AcquireLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeRunFile(dir, RunFile{PID: 4711, Address: "http://127.0.0.1:1", Token: "secret-secret-secret"}); err != nil {
		t.Fatal(err)
	}
	_, err = AcquireLock(dir)
	if !errors.Is(err, driftgate.ErrBusy) || !strings.Contains(err.Error(), "4711") || strings.Contains(err.Error(), "secret") {
		t.Errorf("a second owner: %v", err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := AcquireLock(dir) // run.json of the dead does not matter
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Release(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, runFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("run.json holds the token: mode %v, %v", info.Mode(), err)
	}
}

func TestTheTokenIsMadeOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	a, fresh, err := loadToken(dir)
	if err != nil || !fresh || len(a) < 32 {
		t.Fatalf("%q %v %v", a, fresh, err)
	}
	b, fresh, err := loadToken(dir)
	if err != nil || fresh || a != b {
		t.Errorf("%q %v %v, want %q again", b, fresh, err, a)
	}
	if err := os.WriteFile(filepath.Join(dir, tokenFile), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := loadToken(dir); !errors.Is(err, driftgate.ErrInvalid) {
		t.Errorf("a token that can be guessed: %v", err)
	}
}

func TestAnswersOfTheGatewayKeepTheirKind(t *testing.T) {
	for status, kind := range map[int]error{
		400: driftgate.ErrInvalid, 422: driftgate.ErrInvalid, 401: driftgate.ErrUnauthorized, 404: driftgate.ErrNotFound,
		409: driftgate.ErrRefused, 423: driftgate.ErrBusy, 503: driftgate.ErrFull,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer a-token" {
				t.Errorf("no token in %v", r.Header)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"title":"t","detail":"what was wrong","errors":[{"message":"want 1","location":"body.n"}]}`))
		}))
		err := NewClient(server.URL, "a-token").Get(t.Context(), "/", nil)
		server.Close()
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), "what was wrong") || !strings.Contains(err.Error(), "body.n want 1") {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestFiringAndResolutionOfOneAlarmShareTheirCause(t *testing.T) {
	e := metrics.AlarmEvent{State: estimate.Firing, At: time.Unix(2000, 0), Since: time.Unix(1000, 0), ModelVersion: "abc"}
	resolved := e
	resolved.State, resolved.At = estimate.Resolved, time.Unix(9000, 0)
	next := e
	next.Since = time.Unix(5000, 0)
	if alarmKey(e) != alarmKey(resolved) || alarmKey(e) == alarmKey(next) {
		t.Errorf("keys %q %q %q", alarmKey(e), alarmKey(resolved), alarmKey(next))
	}
}

// TestAGatewayThatCannotStartLeavesNothingBehind uses an S3 endpoint where
// nobody listens.
func TestAGatewayThatCannotStartLeavesNothingBehind(t *testing.T) {
	c := config.Default()
	c.Dir, c.HTTP.Listen = t.TempDir(), "127.0.0.1:0"
	c.S3.Endpoint, c.S3.AccessKey, c.S3.SecretKey = "http://127.0.0.1:1", "a", "a-secret-that-is-long"
	_, err := New(t.Context(), Options{Config: c})
	if err == nil || !strings.Contains(err.Error(), "http://127.0.0.1:1") || strings.Contains(err.Error(), "a-secret") {
		t.Errorf("error %v, want the endpoint named and the secret not", err)
	}
	lock, err := AcquireLock(c.Dir)
	if err != nil {
		t.Fatalf("the folder is still held: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
}
