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
	"driftgate/internal/telemetry/telemetrytest"
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
	report, err := Check(t.Context(), c, CheckOptions{})
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
		"a trace receiver that is off": {func(t *testing.T, c *config.Config) {
			c.OTel.Endpoint, c.OTel.Headers = "http://"+deaf(t), "authorization=a-secret"
		}, "traces", CheckWarn, "refused"},
		"a trace receiver": {func(t *testing.T, c *config.Config) { c.OTel.Endpoint = telemetrytest.Start(t).Endpoint }, "traces", CheckOK, "/v1/traces takes them"},
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
		"rules on a window that is not exported": {func(_ *testing.T, c *config.Config) {
			c.Metrics.Windows = []time.Duration{time.Hour, 24 * time.Hour, 7 * 24 * time.Hour}
		}, "rules", CheckWarn, "burn_rates[0].short 6h"},
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
	for skew, fine := range map[time.Duration]bool{
		0: true, -900 * time.Millisecond: true, 4 * time.Second: true, -5 * time.Second: true,
		6 * time.Second: false, -7 * time.Second: false, time.Hour: false,
	} {
		date := now.Add(skew).Truncate(time.Second)
		if got := skewOf(date, now, now.Add(50*time.Millisecond)); (got.Abs() <= maxSkew) != fine {
			t.Errorf("%s away: %s, want fine %v", skew, got, fine)
		}
	}
}

// running is a gateway of c until the test ends.
func running(t *testing.T, c config.Config) {
	t.Helper()
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
	err = Retry(ctx, 20*time.Millisecond, func() error {
		if _, err := ReadRunFile(c.Dir); err != nil {
			return context.DeadlineExceeded // not yet
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheRunningGatewayIsAsked(t *testing.T) {
	c := folder(t)
	agent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	c.StatsD.Address, c.HTTP.AlertsToken = agent.LocalAddr().String(), "alertmanager-token-of-the-test"
	running(t, c)
	_, lines := looked(t, c)
	for name, says := range map[string]string{"buckets": "6: put, tag, get and delete work", "webhook": "open with the token and the alerts token and shut without",
		"alerts token": "opens POST http://", "ledger": "schema", "statsd": "sent to", "clock": "within 1s", "rules": "every window"} {
		if got := lines[name]; got.Status != CheckOK || !strings.Contains(got.Detail, says) {
			t.Errorf("%s: %+v, want ok with %q", name, got, says)
		}
	}
	packet := make([]byte, 100)
	if err := agent.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	found := false
	for range 1000 { // its own figures come there too
		n, _, err := agent.ReadFrom(packet)
		if err != nil {
			t.Fatalf("StatsD got no check: %v", err)
		}
		if found = string(packet[:n]) == "driftgate.check:0|c"; found {
			break
		}
	}
	if !found {
		t.Error("StatsD got no check")
	}
	c.HTTP.AlertsToken = "a-token-that-was-not-reloaded"
	report, lines := looked(t, c)
	if got := lines["alerts token"]; report.OK || got.Status != CheckFail || !strings.Contains(got.Detail, "does not take the http.alerts_token") || strings.Contains(got.Detail, "not-reloaded") {
		t.Errorf("a token that the gateway does not know: %+v", got)
	}
}
