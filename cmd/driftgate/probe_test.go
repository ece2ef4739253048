package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"driftgate/internal/app"
)

// runFile pretends that a gateway at address owns dir.
func runFile(t *testing.T, dir, address string) {
	t.Helper()
	b, err := json.Marshal(app.RunFile{PID: 1, Address: address, Token: "not to be sent"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "run.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestProbeSaysWhatTheGatewaySays(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a probe sent the token")
		}
		if r.URL.Path == "/-/ready" {
			http.Error(w, "not ready; no model", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "healthy")
	})
	for name, start := range map[string]func(http.Handler) *httptest.Server{"http": httptest.NewServer, "https": httptest.NewTLSServer} {
		t.Run(name, func(t *testing.T) {
			server := start(handler)
			defer server.Close()
			dir := t.TempDir()
			runFile(t, dir, server.URL)
			if code, out, text := drive(t, "check", "--healthy", "--dir", dir); code != 0 || strings.TrimSpace(out) != "healthy" {
				t.Errorf("check --healthy: exit %d, %q, %q", code, out, text)
			}
			code, _, text := drive(t, "check", "--ready", "--dir", dir)
			if code != exitFailed || !strings.Contains(text, "503") || !strings.Contains(text, "no model") {
				t.Errorf("check --ready: exit %d, %q; want 1 and the gateway's words", code, text)
			}
		})
	}
}

func TestProbeFailsAndStartsNothingWithoutAGateway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	for _, flag := range []string{"--healthy", "--ready"} {
		code, _, text := drive(t, "check", flag, "--dir", dir)
		if code != exitFailed || !strings.Contains(text, "no gateway listens") {
			t.Errorf("check %s: exit %d, %q", flag, code, text)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the probe made the folder")
	}
	// A gateway that is gone without removing its run.json.
	dir = t.TempDir()
	server := httptest.NewServer(nil)
	server.Close()
	runFile(t, dir, server.URL)
	if code, _, text := drive(t, "check", "--healthy", "--dir", dir); code != exitFailed || !strings.Contains(text, "refused") {
		t.Errorf("a dead gateway: exit %d, %q", code, text)
	}
}
