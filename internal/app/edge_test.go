package app

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"driftgate"
	"driftgate/internal/config"
)

const edgeAlertsToken = "alertmanager-token-of-the-test"

// edge is a real gateway on the embedded store, without a model.
type edge struct {
	*App
	stop func() error
	log  *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func startEdge(t *testing.T, change func(*Options)) *edge {
	t.Helper()
	c := config.Default()
	c.Dir, c.Model, c.HTTP.Listen, c.HTTP.AlertsToken, c.HTTP.RatePerIP = t.TempDir(), "garments", "127.0.0.1:0", edgeAlertsToken, 0
	level := new(slog.LevelVar)
	log := &syncBuffer{}
	o := Options{Config: c, Level: level, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})), Version: "test"}
	if change != nil {
		change(&o)
	}
	a, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	e := &edge{App: a, log: log, stop: sync.OnceValue(func() error { cancel(); return <-done })}
	t.Cleanup(func() {
		if err := e.stop(); err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
	})
	return e
}

// ask makes one request and returns the status and the body.
func (e *edge) ask(t *testing.T, method, path, token string, body io.Reader) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, e.Address()+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// delivery is n alerts as Alertmanager sends them, some 900 bytes each.
func delivery(n int, status, model string) string {
	alerts := make([]string, n)
	for i := range alerts {
		alerts[i] = fmt.Sprintf(`{"status":%q,"labels":{"action":"retrain","alertname":"ModelAccuracyLow","model":%q,"severity":"critical","replica":"%d"},`+
			`"annotations":{"summary":"Accuracy of %s is 60%%","description":%q},"startsAt":"2026-11-22T04:03:34.045Z","endsAt":"0001-01-01T00:00:00Z",`+
			`"generatorURL":"http://prometheus.example/graph?g0.expr=x","fingerprint":"%016x"}`, status, model, i, model, strings.Repeat("long ", 100), i)
	}
	return `{"receiver":"gateway","status":"` + status + `","alerts":[` + strings.Join(alerts, ",") +
		`],"groupLabels":{},"commonLabels":{},"commonAnnotations":{},"externalURL":"http://alertmanager.example","version":"4","groupKey":"{}","truncatedAlerts":0}`
}

func (e *edge) recorded(t *testing.T) (triggers, runs int) {
	t.Helper()
	all, err := e.ledger.Triggers(t.Context(), 10_000)
	if err != nil {
		t.Fatal(err)
	}
	started, err := e.ledger.Runs(t.Context(), "retrain", 100)
	if err != nil {
		t.Fatal(err)
	}
	return len(all), len(started)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestWebhookAbuseGetsItsStatusAndStartsNothing(t *testing.T) {
	e := startEdge(t, nil)
	for _, tt := range []struct {
		name, token, body string
		status, triggers  int
	}{
		{"no token", "", delivery(1, "firing", "garments"), 401, 0},
		{"a wrong token", "not-the-token-of-anybody", delivery(1, "firing", "garments"), 401, 0},
		{"no body", edgeAlertsToken, "", 400, 0},
		{"truncated JSON", edgeAlertsToken, delivery(1, "firing", "garments")[:400], 400, 0},
		{"an oversized body", edgeAlertsToken, `{"version":"4","x":"` + strings.Repeat("x", 17<<20) + `"}`, 413, 0},
		{"an unknown model", edgeAlertsToken, delivery(1, "firing", "spam"), 200, 0},
		{"10,000 alerts for an unknown model", edgeAlertsToken, delivery(10_000, "firing", "spam"), 200, 0},
		{"10,001 alerts", edgeAlertsToken, delivery(10_001, "firing", "garments"), 400, 0},
		{"resolved only", edgeAlertsToken, delivery(1, "resolved", "garments"), 202, 1},
		{"10,000 resolved", edgeAlertsToken, delivery(10_000, "resolved", "garments"), 202, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := heap()
			start := time.Now()
			status, answer := e.ask(t, "POST", "/api/v1/alerts", tt.token, strings.NewReader(tt.body))
			triggers, runs := e.recorded(t)
			if status != tt.status || triggers != tt.triggers || runs != 0 {
				t.Errorf("%d with %d triggers and %d runs, want %d, %d and none: %.300s", status, triggers, runs, tt.status, tt.triggers, answer)
			}
			if kept := int64(heap()) - int64(before); kept > 32<<20 {
				t.Errorf("%d bytes are kept", kept)
			}
			if len(answer) > 64<<10 {
				t.Errorf("an answer of %d bytes", len(answer))
			}
			t.Logf("%d bytes: %d in %s", len(tt.body), status, time.Since(start).Round(time.Millisecond))
		})
	}
}

func TestTenThousandFiringAlertsAreOneRun(t *testing.T) {
	e := startEdge(t, nil)
	body := delivery(10_000, "firing", "garments")
	for range 2 { // and once more, as after group_interval
		start := time.Now()
		status, answer := e.ask(t, "POST", "/api/v1/alerts", edgeAlertsToken, strings.NewReader(body))
		triggers, runs := e.recorded(t)
		if status != http.StatusAccepted || triggers != 100 || runs != 1 {
			t.Errorf("%d with %d triggers and %d runs, want 202, 100 and 1: %.300s", status, triggers, runs, answer)
		}
		t.Logf("%d bytes: %d in %s", len(body), status, time.Since(start).Round(time.Millisecond))
	}
}

func TestTheAlertsTokenOpensTheWebhookAlone(t *testing.T) {
	e := startEdge(t, nil)
	for path, want := range map[string]int{"/api/v1/runs": 401, "/debug/pprof/": 401, "/-/healthy": 200, "/-/ready": 503} {
		if status, answer := e.ask(t, "GET", path, edgeAlertsToken, nil); status != want {
			t.Errorf("GET %s: %d, want %d: %.200s", path, status, want, answer)
		}
	}
	for path, says := range map[string]string{"/debug/pprof/": "goroutine", "/debug/pprof/heap?debug=1": "heap profile", "/debug/pprof/cmdline": "404"} {
		if _, answer := e.ask(t, "GET", path, e.Token(), nil); !strings.Contains(answer, says) {
			t.Errorf("GET %s with the token: %.200s", path, answer)
		}
	}
	if _, answer := e.ask(t, "GET", "/metrics", "", nil); !strings.Contains(answer, `driftgate_build_info{goversion="`+runtime.Version()+`"`) {
		t.Error("driftgate_build_info does not name the Go release")
	}
}

// TestSlowClientsLoseTheirConnection holds the head, then the body of a
// request back, and reads no answer; meanwhile others are served.
func TestSlowClientsLoseTheirConnection(t *testing.T) {
	e := startEdge(t, func(o *Options) {
		o.Config.HTTP.HeaderTimeout, o.Config.HTTP.ReadTimeout = 300*time.Millisecond, 600*time.Millisecond
		o.Config.HTTP.MaxConnections, o.Config.HTTP.MaxConnectionsPerIP = 40, 30
	})
	address := strings.TrimPrefix(e.Address(), "http://")
	head := "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n"
	for name, sent := range map[string]string{
		"nothing": "", "half a head": head, "half a body": head + "\r\n{\"image\":\"",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			var wait sync.WaitGroup
			for range 20 {
				wait.Go(func() {
					c, err := net.Dial("tcp", address)
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					if _, err := io.WriteString(c, sent); err != nil {
						t.Error(err)
					}
					_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
					answer, err := io.ReadAll(c) // until the gateway hangs up
					if errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("still connected after 5s: %.100s", answer)
					}
					if bytes.HasPrefix(answer, []byte("HTTP/1.1 2")) {
						t.Errorf("answered %.100s", answer)
					}
				})
			}
			for range 5 {
				if status, answer := e.ask(t, "GET", "/-/healthy", "", nil); status != 200 {
					t.Errorf("beside 20 slow clients: %d %s", status, answer)
				}
			}
			wait.Wait()
			t.Logf("20 clients cut after %s", time.Since(start).Round(time.Millisecond))
		})
	}
	triggers, runs := e.recorded(t)
	if triggers+runs != 0 {
		t.Errorf("%d triggers, %d runs", triggers, runs)
	}
}

func TestConnectionsFromOneAddressAreBounded(t *testing.T) {
	e := startEdge(t, func(o *Options) { o.Config.HTTP.MaxConnections, o.Config.HTTP.MaxConnectionsPerIP = 12, 8 })
	http.DefaultClient.CloseIdleConnections()
	var open, cut int
	for range 20 {
		c, err := net.Dial("tcp", strings.TrimPrefix(e.Address(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n") // a cut one may say so here
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if answer, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil && answer.StatusCode == http.StatusOK {
			answer.Body.Close()
			open++
		} else {
			cut++
		}
	}
	if open != 8 || cut != 12 {
		t.Errorf("%d served, %d cut, want 8 and 12", open, cut)
	}
	e.connections.setBounds(12, 12)
	if status, _ := e.ask(t, "GET", "/-/healthy", "", nil); status != 200 {
		t.Errorf("after the bound was raised: %d", status)
	}
}

// TestAClientThatReadsNothingIsCut lets both sockets' buffers fill.
func TestAClientThatReadsNothingIsCut(t *testing.T) {
	server, client := net.Pipe() // no buffer at all
	defer client.Close()
	c := &conn{Conn: server, stall: 50 * time.Millisecond, release: func() {}}
	start := time.Now()
	if n, err := c.Write(make([]byte, 3*writeChunk)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d written, %v", n, err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("held for %s", d)
	}
	go func() { _, _ = io.Copy(io.Discard, client) }()
	if n, err := c.Write(make([]byte, 3*writeChunk+1)); n != 3*writeChunk+1 || err != nil {
		t.Errorf("to a client that reads: %d, %v", n, err)
	}
}

func TestReloadTakesOverWhatItCanAndNamesTheRest(t *testing.T) {
	var next config.Config
	var mistake error
	e := startEdge(t, func(o *Options) {
		o.Config.HTTP.RatePerIP = 50
		o.Load = func() (config.Config, error) { return next, mistake }
		next = o.Config
	})
	reload := func() (int, string) { return e.ask(t, "POST", "/-/reload", e.Token(), nil) }
	if status, answer := reload(); status != 200 || answer != `{"changed":[],"needs_restart":[]}` {
		t.Errorf("nothing new: %d %s", status, answer)
	}
	if status, _ := e.ask(t, "POST", "/-/reload", edgeAlertsToken, nil); status != 401 {
		t.Errorf("with the alerts token: %d", status)
	}
	next.Log.Level, next.HTTP.AlertsToken, next.Metrics.MinLabels = "debug", "another-token-for-alertmanager", 77
	status, answer := reload()
	if status != 200 || answer != `{"changed":["http.alerts_token","log.level"],"needs_restart":["metrics.min_labels"]}` {
		t.Errorf("%d %s", status, answer)
	}
	if _, again := reload(); again != `{"changed":[],"needs_restart":["metrics.min_labels"]}` {
		t.Errorf("once more: %s", again)
	}
	if e.Level.Level() != slog.LevelDebug {
		t.Errorf("level %s", e.Level.Level())
	}
	old, _ := e.ask(t, "POST", "/api/v1/alerts", edgeAlertsToken, strings.NewReader(delivery(1, "resolved", "garments")))
	now, _ := e.ask(t, "POST", "/api/v1/alerts", next.HTTP.AlertsToken, strings.NewReader(delivery(1, "resolved", "garments")))
	if old != 401 || now != 202 {
		t.Errorf("the old alerts token %d, the new one %d", old, now)
	}
	mistake = fmt.Errorf("driftgate.yml:3: want a number: %w", driftgate.ErrInvalid)
	next.HTTP.AlertsToken = ""
	if status, answer := reload(); status != 422 || !strings.Contains(answer, "driftgate.yml:3") {
		t.Errorf("a mistake: %d %s", status, answer)
	}
	if status, _ := e.ask(t, "POST", "/api/v1/alerts", "another-token-for-alertmanager", strings.NewReader(delivery(1, "resolved", "garments"))); status != 202 {
		t.Errorf("after a mistake the alerts token is gone: %d", status)
	}
	if _, series := e.ask(t, "GET", "/metrics", "", nil); !strings.Contains(series, "driftgate_config_last_reload_successful 0") {
		t.Error("the mistake does not show in the series")
	}
}

// TestShutdownEndsInItsBound leaves a page watching and an upload half sent.
func TestShutdownEndsInItsBound(t *testing.T) {
	e := startEdge(t, func(o *Options) { o.Config.Shutdown = 4 * time.Second })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.Address()+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+e.Token())
	watch, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Body.Close()
	start := time.Now()
	if err := e.stop(); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > 1500*time.Millisecond {
		t.Errorf("a page that watches held the shutdown for %s", d)
	}
	if _, err := os.Stat(filepath.Join(e.Config.Dir, runFile)); !os.IsNotExist(err) {
		t.Errorf("run.json is left: %v", err)
	}

	slow := startEdge(t, func(o *Options) { o.Config.Shutdown = 2 * time.Second })
	c, err := net.Dial("tcp", strings.TrimPrefix(slow.Address(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // so that the request is under way
	start = time.Now()
	if err := slow.stop(); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d < 500*time.Millisecond || d > 3*time.Second {
		t.Errorf("with a request that never ends it took %s, want some 1s", d)
	}
}
