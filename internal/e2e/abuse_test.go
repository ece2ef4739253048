//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"driftgate/internal/ledger"
)

// alertsToken is what Alertmanager holds in these tests.
const alertsToken = "alertmanager-token-of-the-e2e-test"

// besieged is a gateway under abuse, with a client that is served meanwhile.
type besieged struct {
	*gateway
	client *regular
}

// besiege starts a gateway with a champion. Slow clients are cut sooner than by
// default (10s for a head, 2m for a request), and there is no limit by address:
// attackers and the regular client share one here, and the limit would only
// hide what the rest withstands.
func besiege(t *testing.T) *besieged {
	t.Helper()
	g := serve(t, filepath.Join(t.TempDir(), "gateway"), fmt.Sprintf(`model: garments
http: {listen: "127.0.0.1:0", rate_per_ip: 0, alerts_token: %q, header_timeout: 3s, read_timeout: 6s}
curate: {every: 1h}
collect: {every: 1h}
reconcile: {every: 0s}
`, alertsToken))
	firstChampion(t, g)
	b := &besieged{gateway: g, client: &regular{}}
	b.client.start(t, g)
	return b
}

// status is one field of /proc/PID/status, in bytes.
func (g *gateway) status(t *testing.T, field string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), field+":")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kb, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", field, err)
	}
	return kb << 10
}

// forgetPeak has VmHWM start again from what is resident now (proc(5)).
func (g *gateway) forgetPeak(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", g.cmd.Process.Pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// goroutines asks the gateway's own profile.
func (g *gateway) goroutines(t *testing.T) int {
	t.Helper()
	http.DefaultClient.CloseIdleConnections()
	status, body := g.try(t, "GET", "/debug/pprof/goroutine?debug=1", nil)
	first, _, _ := strings.Cut(string(body), "\n")
	n, err := strconv.Atoi(strings.TrimPrefix(first, "goroutine profile: total "))
	if err != nil {
		t.Fatalf("%d %.200s", status, body)
	}
	return n
}

// calms waits until nothing of the abuse is left: no connection but the one that
// asks, memory given back, and no goroutine for any of the some 900 connections
// that were. Up to 40 goroutines are the pools of the object store's and the
// ledger's client, and a retraining under way.
func (b *besieged) calms(t *testing.T, goroutines int, resident int64) {
	t.Helper()
	b.client.stop()
	var now, open int
	var rss int64
	eventually(t, time.Minute, "connections, goroutines and memory are back", func() bool {
		http.DefaultClient.CloseIdleConnections()
		status, page := b.try(t, "GET", "/metrics", nil)
		_, rest, _ := strings.Cut(string(page), "\ndriftgate_http_connections ")
		value, _, _ := strings.Cut(rest, "\n")
		var err error
		if open, err = strconv.Atoi(value); err != nil {
			t.Fatalf("/metrics: %d, driftgate_http_connections is %q", status, value)
		}
		now, rss = b.goroutines(t), b.status(t, "VmRSS")
		t.Logf("%d connections, %d goroutines (%d before), %d MiB (%d before)", open, now, goroutines, rss>>20, resident>>20)
		return open <= 2 && now <= goroutines+40 && rss <= resident+128<<20
	})
}

// regular predicts twenty times a second, and delivers an alert about another
// model each second, as an Alertmanager beside the abuse would. It counts what
// it is answered.
type regular struct {
	mu      sync.Mutex
	answers map[int]int
	took    []time.Duration
	stop    func()
}

func (c *regular) start(t *testing.T, g *gateway) {
	c.answers = map[int]int{}
	in := map[string]string{"image": base64.StdEncoding.EncodeToString(garment(t, 1))}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	c.stop = sync.OnceFunc(func() { cancel(); wait.Wait() })
	t.Cleanup(c.stop)
	wait.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			begun := time.Now()
			var status int
			if i%20 == 10 {
				status, _ = g.send(t, alertsToken, strings.NewReader(delivery(1, "firing", "another")))
			} else {
				status, _ = g.try(t, "POST", "/predict", in)
			}
			c.mu.Lock()
			c.answers[status]++
			c.took = append(c.took, time.Since(begun))
			c.mu.Unlock()
			<-tick.C
		}
	})
}

// since returns what the client was answered since it was asked last.
func (c *regular) since() (answers map[int]int, slowest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	answers, slowest = c.answers, slices.Max(append(c.took, 0))
	c.answers, c.took = map[int]int{}, nil
	return answers, slowest
}

// started lists what the webhook made: triggers and retrainings.
func (g *gateway) started(t *testing.T) (triggers, runs int) {
	t.Helper()
	var tr struct{ Triggers []ledger.TriggerRecord }
	g.call(t, "GET", "/api/v1/triggers?limit=1000", nil, &tr)
	var rs struct{ Runs []ledger.Run }
	g.call(t, "GET", "/api/v1/runs?pipeline=retrain", nil, &rs)
	return len(tr.Triggers), len(rs.Runs)
}

// send delivers a body of any size to the webhook.
func (g *gateway) send(t *testing.T, token string, body io.Reader) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, g.address+"/api/v1/alerts", body)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// delivery is n alerts as Alertmanager sends them, some 900 bytes each.
func delivery(n int, status, model string) string {
	alerts := make([]string, n)
	for i := range alerts {
		alerts[i] = fmt.Sprintf(`{"status":%q,"labels":{"action":"retrain","alertname":"ModelAccuracyLow","model":%q,"replica":"%d"},`+
			`"annotations":{"summary":"Accuracy of %s is 60%%","description":%q},"startsAt":"2026-11-22T04:03:34.045Z",`+
			`"endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus.example/graph","fingerprint":"%016x"}`,
			status, model, i, model, strings.Repeat("long ", 120), i)
	}
	return envelope(status, strings.Join(alerts, ","))
}

func envelope(status, alerts string) string {
	return `{"receiver":"driftgate","status":"` + status + `","alerts":[` + alerts + `],"version":"4","groupKey":"{}","truncatedAlerts":0}`
}

// endless is a body without end or length, which goes out chunked.
type endless struct{ sent int }

func (e *endless) Read(p []byte) (int, error) {
	if e.sent > 1<<30 {
		return 0, errors.New("nobody stops me")
	}
	for i := range p {
		p[i] = ' '
	}
	e.sent += len(p)
	return len(p), nil
}

// loris opens n connections, says text on each and then nothing, and returns
// how they ended: the status each was answered, 0 for none, -1 for a connection
// that was still open after the time.
func loris(t *testing.T, address, text string, n int, within time.Duration) map[int]int {
	t.Helper()
	ends := make([]int, n)
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() {
			c, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if _, err := io.WriteString(c, text); err != nil {
				t.Error(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(within))
			answer, err := io.ReadAll(c)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				ends[i] = -1
			} else if bytes.HasPrefix(answer, []byte("HTTP/1.1 ")) {
				ends[i], _ = strconv.Atoi(string(answer[9:12]))
			}
		})
	}
	wait.Wait()
	count := map[int]int{}
	for _, e := range ends {
		count[e]++
	}
	return count
}

// post is the head of a request that promises a body.
func post(path, token string, length int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", path, token, length)
}

func TestWebhookAbuseIsAnsweredAndBounded(t *testing.T) {
	b := besiege(t)
	one := func(token, body string) func() map[int]int {
		return func() map[int]int {
			status, answer := b.send(t, token, strings.NewReader(body))
			if status == 0 || len(answer) > 64<<10 {
				t.Errorf("%d with %d bytes: %.200s", status, len(answer), answer)
			}
			return map[int]int{status: 1}
		}
	}
	many := func(n int, do func() map[int]int) func() map[int]int {
		return func() map[int]int {
			var mu sync.Mutex
			var wait sync.WaitGroup
			all := map[int]int{}
			for range n {
				wait.Go(func() {
					got := do()
					mu.Lock()
					defer mu.Unlock()
					for k, v := range got {
						all[k] += v
					}
				})
			}
			wait.Wait()
			return all
		}
	}
	stream := func(token string) func() map[int]int {
		return func() map[int]int { status, _ := b.send(t, token, &endless{}); return map[int]int{status: 1} }
	}
	slow := func(text string) func() map[int]int {
		return func() map[int]int { return loris(t, b.address, text, 200, 15*time.Second) }
	}
	firing := delivery(1, "firing", "garments")
	tenThousand := delivery(10_000, "firing", "spam")
	later := strings.ReplaceAll(delivery(10_000, "firing", "garments"), "2026-11-22", "2026-11-23")
	before, resident := b.goroutines(t), b.status(t, "VmRSS")
	b.client.since()
	t.Logf("%d goroutines, %d MiB resident", before, resident>>20)
	var peak int64
	for _, tt := range []struct {
		name     string
		do       func() map[int]int
		want     []int // statuses allowed; 0 is a connection cut unanswered
		triggers int   // recorded by now
		runs     int
	}{
		{"no token", one("", firing), []int{401}, 0, 0},
		{"a wrong token", one("not-the-token-of-anybody", firing), []int{401}, 0, 0},
		{"a body without end, no token", stream(""), []int{401}, 0, 0},
		{"a body without end", stream(alertsToken), []int{413}, 0, 0},
		{"17 MiB", one(alertsToken, `{"version":"4","x":"`+strings.Repeat("x", 17<<20)+`"}`), []int{413}, 0, 0},
		{"no body", one(alertsToken, ""), []int{400}, 0, 0},
		{"truncated JSON", one(alertsToken, firing[:400]), []int{400}, 0, 0},
		{"16 million brackets", one(alertsToken, strings.Repeat("[", 16<<20)), []int{400}, 0, 0},
		{"5 million empty alerts", one(alertsToken, envelope("firing", strings.Repeat("{},", 5_000_000)+"{}")), []int{400}, 0, 0},
		{"an alert with a million labels", one(alertsToken, envelope("firing", `{"status":"firing","labels":{`+manyLabels(1_000_000)+`}}`)), []int{200}, 0, 0},
		{"an unknown model", one(alertsToken, delivery(1, "firing", "spam")), []int{200}, 0, 0},
		{"10,001 alerts", one(alertsToken, delivery(10_001, "firing", "garments")), []int{400}, 0, 0},
		{"10,000 alerts, an unknown model", one(alertsToken, tenThousand), []int{200}, 0, 0},
		{"the same from 16 at once", many(16, one(alertsToken, tenThousand)), []int{200, 503}, 0, 0},
		{"200 hold the head back", slow(post("/api/v1/alerts", alertsToken, 100)), []int{0}, 0, 0},
		{"200 hold the body back", slow(post("/predict", "", 1000) + "\r\n{\"image\":\""), []int{408}, 0, 0},
		{"200 hold the body back, no token", slow(post("/api/v1/alerts", "", 1000) + "\r\n{"), []int{401}, 0, 0},
		{"200 hold the body back, token", slow(post("/api/v1/alerts", alertsToken, 1000) + "\r\n{"), []int{408}, 0, 0},
		{"resolved only", one(alertsToken, delivery(1, "resolved", "garments")), []int{202}, 1, 0},
		{"10,000 resolved", one(alertsToken, delivery(10_000, "resolved", "garments")), []int{202}, 100, 0},
		{"10,000 firing that are resolved", one(alertsToken, delivery(10_000, "firing", "garments")), []int{202}, 200, 0},
		{"10,000 firing", one(alertsToken, later), []int{202}, 300, 1},
		{"the same from 16 at once", many(16, one(alertsToken, later)), []int{202, 503}, 300, 1},
	} {
		b.forgetPeak(t)
		begun := time.Now()
		got := tt.do()
		took := time.Since(begun)
		triggers, runs := b.started(t)
		high := b.status(t, "VmHWM")
		served, slowest := b.client.since()
		t.Logf("%-34s %v in %5d ms; %3d triggers, %d runs; %4d MiB at most; client %v, slowest %d ms",
			tt.name, got, took.Milliseconds(), triggers, runs, high>>20, served, slowest.Milliseconds())
		for status := range maps.Keys(got) {
			if !slices.Contains(tt.want, status) {
				t.Errorf("%s: answered %v, want %v", tt.name, got, tt.want)
			}
		}
		if triggers != tt.triggers || runs != tt.runs {
			t.Errorf("%s: %d triggers and %d runs, want %d and %d", tt.name, triggers, runs, tt.triggers, tt.runs)
		}
		delete(served, 200)
		if slices.Contains(tt.want, 503) { // its delivery may be told to come again, as the others
			delete(served, 503)
		}
		if len(served) > 0 {
			t.Errorf("%s: the regular client was answered %v beside 200s", tt.name, served)
		}
		peak = max(peak, high)
	}
	t.Logf("%d MiB before, %d at most", resident>>20, peak>>20)
	// Four deliveries are taken apart at once. Each is at most 16 MiB: twice that
	// in the decoder's buffer, as much again in strings and maps, and the garbage
	// collector lets the heap double: 128 MiB each. All bodies of a hundred more
	// clients, 128 KiB each, are lost in the rounding.
	if bound := resident + 4*128<<20; peak > bound {
		t.Errorf("%d MiB resident, want at most %d", peak>>20, bound>>20)
	}
	b.calms(t, before, resident)
}

func manyLabels(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"%x":""`, i)
	}
	return b.String()
}
