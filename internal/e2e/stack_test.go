//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// tight is driftgate's configuration with intervals of seconds. Its own alarm
// is as good as off, so that only the alert can start the retraining: these
// tests are about the way round through Prometheus. (A billion years are not
// enough: ten seconds of these garments are evidence of 1e13.) The arguments
// are the gateway's port and the exporter's.
const tight = `model: garments
http: {listen: "127.0.0.1:%d", rate_per_ip: 0}
curate: {every: 1s, random: 12}
collect: {every: 1s, undo: 0s}
reconcile: {every: 0s}
serving: {follow: 500ms}
metrics: {windows: [15s, 24h], stride: 1s, min_labels: 30, refresh: 1s}
statsd: {address: "127.0.0.1:%d", every: 1s}
alarm: {years: 1e300, slot: 1s, label_grace: 5s, reference_labels: 150}
trigger: {cool_down: 10m, budget_per_day: 20, alert_window: 15s}
train: {replay: 3000, lookback: 1h}
gate: {min_pairs: 60, window: 1h, wait: 10m}
`

// statsdJob is the exporter's job, as deploy/prometheus.yml names it.
const statsdJob = "driftgate-statsd"

// shape is what differs between the stacks.
type shape struct {
	unscraped bool          // Prometheus has the exporter only
	figures   string        // job whose window the rules read; empty is any
	groupWait time.Duration // of Alertmanager, before it tells of a new group; default 1s
	hold      time.Duration // how long an alert on accuracy outlives its expression; default 2s
}

// stack is the four servers of an SRE, around one gateway, and the people they
// would wake.
type stack struct {
	gateway      *gateway
	config       string // the gateway's
	alertmanager *alertmanager
	prometheus   string
	told         *told
}

func newStack(t *testing.T, sh shape) *stack {
	t.Helper()
	dir, root := t.TempDir(), repository(t)
	statsdUDP, statsdHTTP := freePort(t), freePort(t)
	start(t, nil, tool(t, "statsd_exporter"), fmt.Sprintf("--statsd.listen-udp=127.0.0.1:%d", statsdUDP), "--statsd.listen-tcp=",
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", statsdHTTP), "--statsd.mapping-config="+mapping(t, root, dir))

	s := &stack{config: fmt.Sprintf(tight, freePort(t), statsdUDP), told: listen(t)}
	s.gateway = serve(t, filepath.Join(dir, "gateway"), s.config)
	s.alertmanager = newAlertmanager(t, s, sh, root, dir)

	jobs := fmt.Sprintf("- {job_name: %s, static_configs: [{targets: [\"127.0.0.1:%d\"]}]}\n", statsdJob, statsdHTTP)
	if !sh.unscraped {
		jobs += fmt.Sprintf("- {job_name: driftgate, static_configs: [{targets: [%q]}]}\n", strings.TrimPrefix(s.gateway.address, "http://"))
	}
	// Prometheus tells a firing alert again every second, not every minute: a
	// restarted Alertmanager knows of none until then.
	s.prometheus = startPrometheus(t, fmt.Sprintf("%srule_files: [%q]\nalerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}\n",
		jobs, rules(t, sh, root, dir), strings.TrimPrefix(s.alertmanager.address, "http://")), "--rules.alert.resend-delay=1s")
	return s
}

// mapping is deploy/statsd-mapping.yml as it ships, but that a gauge which is
// not sent any more is forgotten sooner.
func mapping(t *testing.T, root, dir string) string {
	t.Helper()
	return write(t, filepath.Join(dir, "mapping.yml"), shipped(t, filepath.Join(root, "deploy", "statsd-mapping.yml"), "ttl: 1m", "ttl: 10s"))
}

// shipped reads a file and replaces pairs of texts in it. Each must be there:
// else the file has changed and the test would run something else.
func shipped(t *testing.T, path string, pairs ...string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%s has no %q any more", path, pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

var waits = regexp.MustCompile(`(?m)^(\s+)(for|keep_firing_for): .*$`)

// rules is alerts/rules.yml as it ships, with its window and its patience
// shortened to the test's, and nothing else changed. Debian's Prometheus 2.42
// knows keep_firing_for.
func rules(t *testing.T, sh shape, root, dir string) string {
	t.Helper()
	window := `window="15s"`
	if sh.figures != "" {
		window += fmt.Sprintf(",job=%q", sh.figures)
	}
	hold := max(sh.hold, 2*time.Second)
	text := shipped(t, filepath.Join(root, "alerts", "rules.yml"), `window="24h"`, window, "keep_firing_for: 30m", "keep_firing_for: HOLD")
	text = waits.ReplaceAllStringFunc(text, func(line string) string {
		if strings.Contains(line, "HOLD") {
			return strings.Replace(line, "HOLD", hold.String(), 1)
		}
		return waits.ReplaceAllString(line, "${1}${2}: 2s")
	})
	return write(t, filepath.Join(dir, "rules.yml"), text)
}

// alertmanager can be killed and started again; its state stays on disk.
type alertmanager struct {
	*process
	args    []string
	address string
}

var groupTimes = regexp.MustCompile(`(?m)^(\s+)(group_wait|group_interval|repeat_interval): .*$`)

// newAlertmanager runs deploy/alertmanager.yml as it ships, with addresses and
// shorter times put in.
func newAlertmanager(t *testing.T, s *stack, sh shape, root, dir string) *alertmanager {
	t.Helper()
	text := shipped(t, filepath.Join(root, "deploy", "alertmanager.yml"),
		"http://127.0.0.1:8080", s.gateway.address,
		"credentials_file: driftgate-token", "credentials_file: "+write(t, filepath.Join(dir, "token"), s.gateway.token),
		"- name: people #", fmt.Sprintf("- name: people\n    webhook_configs: [{url: %q}] #", s.told.address),
		"- name: pager #", fmt.Sprintf("- name: pager\n    webhook_configs: [{url: %q}] #", s.told.address))
	times := map[string]string{"group_wait": max(sh.groupWait, time.Second).String(), "group_interval": "2s", "repeat_interval": "1m"}
	text = groupTimes.ReplaceAllStringFunc(text, func(line string) string {
		m := groupTimes.FindStringSubmatch(line)
		return m[1] + m[2] + ": " + times[m[2]]
	})
	port := freePort(t)
	a := &alertmanager{address: fmt.Sprintf("http://127.0.0.1:%d", port), args: []string{
		"--config.file=" + write(t, filepath.Join(dir, "alertmanager.yml"), text), fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port),
		"--cluster.listen-address=", "--storage.path=" + filepath.Join(dir, "am")}}
	a.run(t)
	return a
}

func (a *alertmanager) run(t *testing.T) {
	t.Helper()
	a.process = start(t, nil, tool(t, "alertmanager"), a.args...)
	eventually(t, 30*time.Second, "Alertmanager is ready", func() bool { return answers(a.address + "/-/ready") })
}

// held is one alert that Alertmanager has.
type held struct {
	Labels map[string]string
	Status struct {
		State       string // active or suppressed
		InhibitedBy []string
	}
	Fingerprint string
}

// alerts returns what Alertmanager has by name, nothing while it is down.
func (a *alertmanager) alerts(t *testing.T) map[string]held {
	t.Helper()
	resp, err := http.Get(a.address + "/api/v2/alerts")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var all []held
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatalf("Alertmanager's alerts: %v", err)
	}
	out := map[string]held{}
	for _, h := range all {
		out[h.Labels["alertname"]] = h
	}
	return out
}

// told is what people heard: the receivers that would mail or page.
type told struct {
	address string
	mu      sync.Mutex
	count   map[string]int // "name status" -> messages
}

func listen(t *testing.T) *told {
	t.Helper()
	p := &told{count: map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m struct {
			Alerts []struct {
				Status string
				Labels map[string]string
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Errorf("Alertmanager sends people %v", err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, a := range m.Alerts {
			p.count[a.Labels["alertname"]+" "+a.Status]++
		}
	}))
	t.Cleanup(server.Close)
	p.address = server.URL
	return p
}

func (p *told) of(name, status string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[name+" "+status]
}
