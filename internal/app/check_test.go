package app

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"driftgate/internal/config"
	"driftgate/internal/objstore/embedded"
)

// folder is the configuration of a gateway of its own.
func folder(t *testing.T) config.Config {
	t.Helper()
	c := config.Default()
	c.Dir, c.HTTP.Listen = filepath.Join(t.TempDir(), "gateway"), "127.0.0.1:0"
	c.Serving.SpoolBytes = c.Serving.MaxImageBytes // the disk of a test machine need not be large
	return c
}

// look runs check and returns its lines by name.
func looked(t *testing.T, c config.Config) (CheckReport, map[string]CheckResult) {
	t.Helper()
	report, err := Check(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]CheckResult{}
	for _, k := range report.Checks {
		lines[k.Name] = k
		if (k.Status == CheckOK) != (k.Fix == "") {
			t.Errorf("%s is %s, and what to do about it is %q", k.Name, k.Status, k.Fix)
		}
	}
	return report, lines
}

// elsewhere is an S3 server that somebody else runs.
func elsewhere(t *testing.T) (endpoint, access, secret string) {
	t.Helper()
	s, err := embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	access, secret = s.Credentials()
	return s.Endpoint(), access, secret
}

// deaf is an address where nobody listens.
func deaf(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}

func TestCheckSaysOfEachFaultWhatToDo(t *testing.T) {
	late := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour-30*time.Second).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(late.Close)
	for name, tt := range map[string]struct {
		spoil  func(t *testing.T, c *config.Config)
		line   string
		status string
		says   string
	}{
		"no model yet":              {func(*testing.T, *config.Config) {}, "champion", CheckWarn, "none yet"},
		"no ledger yet":             {func(*testing.T, *config.Config) {}, "ledger", CheckOK, "made on the first start"},
		"an S3 server that is down": {func(_ *testing.T, c *config.Config) { c.S3.Endpoint = "http://127.0.0.1:1" }, "object store", CheckFail, "127.0.0.1:1"},
		"a wrong secret": {func(t *testing.T, c *config.Config) { c.S3.Endpoint, c.S3.AccessKey, _ = elsewhere(t) },
			"object store", CheckFail, "not authorized"},
		"buckets that nobody has made": {func(t *testing.T, c *config.Config) {
			c.S3.Endpoint, c.S3.AccessKey, c.S3.SecretKey = elsewhere(t)
		}, "buckets", CheckWarn, "production-label-wait"},
		"a clock an hour behind":     {func(_ *testing.T, c *config.Config) { c.S3.Endpoint = late.URL }, "clock", CheckFail, "-1h0m"},
		"a StatsD agent that is off": {func(t *testing.T, c *config.Config) { c.StatsD.Address = deaf(t) }, "statsd", CheckFail, "nobody listens"},
		"a StatsD name that is none": {func(_ *testing.T, c *config.Config) { c.StatsD.Address = "statsd.invalid:8125" }, "statsd", CheckFail, "statsd.invalid"},
		"a token that others may read": {func(t *testing.T, c *config.Config) {
			write(t, filepath.Join(c.Dir, tokenFile), strings.Repeat("t", 20), 0o644)
		}, "folder", CheckWarn, "0644"},
		"a ledger that is none": {func(t *testing.T, c *config.Config) {
			write(t, filepath.Join(c.Dir, "ledger.db"), "no database", 0o600)
		}, "ledger", CheckFail, "not a database"},
		"a spool that is no place": {func(t *testing.T, c *config.Config) { write(t, filepath.Join(c.Dir, "spool"), "", 0o600) }, "spool", CheckFail, "spool"},
		"records set aside": {func(t *testing.T, c *config.Config) {
			write(t, filepath.Join(c.Dir, "spool", "torn", "a.rec"), "torn", 0o600)
		}, "spool", CheckWarn, "1 records were set aside"},
		"a disk that is too small": {func(_ *testing.T, c *config.Config) { c.Serving.SpoolBytes = 1 << 60 }, "spool", CheckWarn, "less than serving.spool_bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			c := folder(t)
			c.S3.AccessKey, c.S3.SecretKey = "somebody", "a-secret-that-is-long"
			tt.spoil(t, &c)
			report, lines := looked(t, c)
			got := lines[tt.line]
			if got.Status != tt.status || !strings.Contains(strings.ToLower(got.Detail), strings.ToLower(tt.says)) {
				t.Errorf("%s: %+v, want %s with %q", tt.line, got, tt.status, tt.says)
			}
			if tt.status == CheckFail && report.OK {
				t.Error("a failure, and the report is in order")
			}
			if tt.status != CheckFail && !report.OK {
				t.Errorf("no failure, and the report is not in order: %+v", report)
			}
			for _, k := range report.Checks {
				if strings.Contains(k.Detail+k.Fix, "a-secret") {
					t.Errorf("the secret is shown: %+v", k)
				}
			}
		})
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestCheckMakesNothingOnAServerOfOthers(t *testing.T) {
	c := folder(t)
	c.S3.Endpoint, c.S3.AccessKey, c.S3.SecretKey = elsewhere(t)
	for range 2 { // the second look finds what the first has left
		if _, lines := looked(t, c); lines["buckets"].Status != CheckWarn {
			t.Errorf("buckets: %+v, want none", lines["buckets"])
		}
	}
	if _, err := os.Stat(filepath.Join(c.Dir, "ledger.db")); err == nil {
		t.Error("check has made a ledger")
	}
}

func TestSkewIsJudgedByWholeSeconds(t *testing.T) {
	now := time.Date(2026, 1, 5, 12, 0, 0, 900e6, time.UTC)
	for skew, status := range map[time.Duration]string{
		0: CheckOK, -900 * time.Millisecond: CheckOK, 4 * time.Second: CheckOK, -5 * time.Second: CheckOK,
		6 * time.Second: CheckFail, -7 * time.Second: CheckFail, time.Hour: CheckFail,
	} {
		date := now.Add(skew).Truncate(time.Second)
		if got := judgeSkew(date, now, now.Add(50*time.Millisecond)); got.status != status {
			t.Errorf("%s away: %+v, want %s", skew, got, status)
		}
	}
}

func TestTheRunningGatewayIsAsked(t *testing.T) {
	c := folder(t)
	agent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	c.StatsD.Address = agent.LocalAddr().String()
	ctx, stop := context.WithCancel(t.Context())
	a, err := New(ctx, Options{Config: c, Quiet: true})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	var lines map[string]CheckResult
	err = Retry(ctx, 20*time.Millisecond, func() error {
		if _, err := ReadRunFile(c.Dir); err != nil {
			return context.DeadlineExceeded // not yet
		}
		_, lines = looked(t, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, says := range map[string]string{"buckets": "6: put, tag, get and delete work", "webhook": "shut without", "ledger": "schema", "statsd": "sent to", "clock": "within 1s"} {
		if got := lines[name]; got.Status != CheckOK || !strings.Contains(got.Detail, says) {
			t.Errorf("%s: %+v, want ok with %q", name, got, says)
		}
	}
	packet := make([]byte, 100)
	if err := agent.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, _, err := agent.ReadFrom(packet)
	if err != nil || string(packet[:n]) != "driftgate.check:0|c" {
		t.Errorf("StatsD got %q, %v", packet[:n], err)
	}
}
