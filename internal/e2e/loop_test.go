//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"driftgate/internal/ledger"
)

// tight is driftgate's configuration with intervals of seconds. Its own alarm
// is as good as off (a billion years), so that only the alert can start the
// retraining: this test is about the way round through Prometheus.
const tight = `model: garments
http: {listen: "127.0.0.1:0", rate_per_ip: 0}
curate: {every: 1s, random: 12}
collect: {every: 1s, undo: 0s}
reconcile: {every: 0s}
serving: {follow: 500ms}
metrics: {windows: [15s, 24h], stride: 1s, min_labels: 30, refresh: 1s}
statsd: {address: "127.0.0.1:%d", every: 1s}
alarm: {years: 1e9, slot: 1s, label_grace: 5s, reference_labels: 150}
trigger: {cool_down: 10m, budget_per_day: 20}
train: {replay: 3000, lookback: 1h}
gate: {min_pairs: 60, window: 1h, wait: 10m}
`

// stack is the four servers of an SRE, around one gateway.
type stack struct {
	gateway    *gateway
	prometheus string
}

func newStack(t *testing.T) stack {
	t.Helper()
	dir := t.TempDir()
	root := repository(t)
	statsdUDP, statsdHTTP, prom, am := freePort(t), freePort(t), freePort(t), freePort(t)

	start(t, nil, tool(t, "statsd_exporter"), fmt.Sprintf("--statsd.listen-udp=127.0.0.1:%d", statsdUDP), "--statsd.listen-tcp=",
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", statsdHTTP), "--statsd.mapping-config="+mapping(t, root, dir))

	gatewayDir := filepath.Join(dir, "gateway")
	g := serve(t, gatewayDir, fmt.Sprintf(tight, statsdUDP))
	tokenFile := write(t, filepath.Join(dir, "token"), g.token)

	start(t, nil, tool(t, "alertmanager"), "--config.file="+write(t, filepath.Join(dir, "alertmanager.yml"), fmt.Sprintf(`
route: {receiver: gateway, group_by: [alertname, model], group_wait: 1s, group_interval: 2s, repeat_interval: 1m}
receivers:
- name: gateway
  webhook_configs:
  - url: %s/api/v1/alerts
    send_resolved: true
    max_alerts: 50
    http_config: {authorization: {type: Bearer, credentials_file: %s}}
`, g.address, tokenFile)), fmt.Sprintf("--web.listen-address=127.0.0.1:%d", am), "--cluster.listen-address=", "--storage.path="+filepath.Join(dir, "am"))

	start(t, nil, tool(t, "prometheus"), "--config.file="+write(t, filepath.Join(dir, "prometheus.yml"), fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s}
rule_files: [%s]
alerting: {alertmanagers: [{static_configs: [{targets: ["127.0.0.1:%d"]}]}]}
scrape_configs:
- {job_name: driftgate, static_configs: [{targets: ["%s"]}]}
- {job_name: statsd, static_configs: [{targets: ["127.0.0.1:%d"]}]}
`, rules(t, root, dir), am, strings.TrimPrefix(g.address, "http://"), statsdHTTP)),
		"--storage.tsdb.path="+filepath.Join(dir, "tsdb"), fmt.Sprintf("--web.listen-address=127.0.0.1:%d", prom))

	s := stack{gateway: g, prometheus: fmt.Sprintf("http://127.0.0.1:%d", prom)}
	eventually(t, 30*time.Second, "Prometheus is ready", func() bool { return answers(s.prometheus + "/-/ready") })
	return s
}

// mapping is deploy/statsd-mapping.yml as it ships, but that a gauge which is
// not sent any more is forgotten sooner.
func mapping(t *testing.T, root, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "deploy", "statsd-mapping.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(dir, "mapping.yml"), strings.ReplaceAll(string(b), "ttl: 1m", "ttl: 10s"))
}

var waits = regexp.MustCompile(`(?m)^(\s+)(for|keep_firing_for): .*$`)

// rules is alerts/rules.yml as it ships, with its window and its patience
// shortened to the test's, and nothing else changed. Debian's Prometheus 2.42
// knows keep_firing_for.
func rules(t *testing.T, root, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "alerts", "rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(b), `window="24h"`, `window="15s",job="driftgate"`)
	text = waits.ReplaceAllString(text, "${1}${2}: 2s")
	return write(t, filepath.Join(dir, "rules.yml"), text)
}

func TestAlertRetrainsPromotesAndResolves(t *testing.T) {
	s := newStack(t)
	g := s.gateway
	firstChampion(t, g)
	crowd := crowd(t, g, 50)

	firing := func() bool {
		return len(query(t, s.prometheus, `ALERTS{alertname="ProductionAccuracyBelowReference",alertstate="firing",model="garments"}`)) > 0
	}
	figure := func() string {
		for _, r := range query(t, s.prometheus, `model:driftgate_production_accuracy_ratio:day{model="garments"}`) {
			return r.text()
		}
		return "none"
	}
	eventually(t, 2*time.Minute, "the reference is fixed and Prometheus has it", func() bool {
		return len(query(t, s.prometheus, `driftgate_reference_accuracy_ratio{job="driftgate",model="garments"}`)) > 0
	})
	time.Sleep(10 * time.Second)
	if firing() {
		t.Fatalf("the alert fires without drift: accuracy %s", figure())
	}
	t.Logf("quiet: accuracy %s after %d predictions", figure(), crowd.sent.Load())
	before := championOf(t, g)

	crowd.drifted.Store(true)
	t.Logf("drift in -> alert fires: %s (accuracy %s)", eventually(t, 2*time.Minute, "the alert fires", firing).Round(100*time.Millisecond), figure())
	var run ledger.Run
	t.Logf("alert -> webhook -> retraining: %s", eventually(t, time.Minute, "a retraining runs for the alert", func() bool {
		run = latest(t, g, "retrain")
		return run.ID != ""
	}).Round(100*time.Millisecond))
	t.Logf("retraining -> verdict: %s", eventually(t, 5*time.Minute, "the retraining ends", func() bool {
		run = latest(t, g, "retrain")
		return run.State == "done" || run.State == "failed"
	}).Round(100*time.Millisecond))
	if run.Verdict != "promote" {
		t.Fatalf("run %s: %s %s %s: %s", run.ID, run.State, run.Verdict, run.Error, run.Result)
	}
	t.Logf("promotion -> served: %s", eventually(t, 30*time.Second, "the new champion serves", func() bool {
		return championOf(t, g) != before
	}).Round(100*time.Millisecond))
	t.Logf("served -> alert resolves: %s", eventually(t, 2*time.Minute, "the alert resolves", func() bool { return !firing() }).Round(100*time.Millisecond))
	eventually(t, time.Minute, "the recovered accuracy is exported", func() bool { return figure() != "none" })
	t.Logf("recovered: accuracy %s", figure())

	decisions := map[string]int{}
	var triggers struct{ Triggers []ledger.TriggerRecord }
	g.call(t, "GET", "/api/v1/triggers", nil, &triggers)
	for _, tr := range triggers.Triggers {
		decisions[string(tr.Decision)]++
	}
	if decisions["accepted"] != 1 {
		t.Errorf("one alert, one retraining: the decisions are %v", decisions)
	}
	crowd.end()
	bothPathsAgree(t, s)
}

// bothPathsAgree compares every series of /metrics with the same one by StatsD,
// and wants nothing by StatsD that /metrics does not have, but what a former
// champion counted: the exporter keeps counters. Pipelines go on every second,
// so their series are left to TestEveryValueIsTheSameOnEveryWayOut.
func bothPathsAgree(t *testing.T, s stack) {
	t.Helper()
	// With traffic stopped, the figures stand still once the last labels are in
	// and the short window is empty.
	time.Sleep(25 * time.Second)
	series := func(job string) map[string]float64 {
		return values(t, s.prometheus, fmt.Sprintf(`{__name__=~"driftgate_.+",__name__!~"driftgate_(pipeline|catalog)_.+",job="%s"}`, job))
	}
	var n int
	var diff []string
	for range 40 {
		direct, statsd := series("driftgate"), series("statsd")
		maps.DeleteFunc(statsd, func(key string, _ float64) bool {
			_, ok := direct[key]
			return !ok && counts(key) && strings.Contains(key, "model_version=")
		})
		if n, diff = len(direct), differences(direct, statsd); n > 0 && len(diff) == 0 {
			break
		}
		time.Sleep(time.Second)
	}
	if n < 100 {
		t.Errorf("only %d series were compared", n)
	}
	if len(diff) > 0 {
		t.Errorf("%d of %d series differ:\n%s", len(diff), n, strings.Join(diff, "\n"))
	}
	t.Logf("%d series came both ways with the same value", n)
}

func firstChampion(t *testing.T, g *gateway) {
	t.Helper()
	var set struct{ Dataset string }
	g.call(t, "POST", "/api/v1/ingest", map[string]any{"source": "synthetic", "seed": 1, "train": 6000, "test": 1000}, &set)
	var started struct{ Run string }
	g.call(t, "POST", "/api/v1/train", map[string]any{"dataset": set.Dataset, "promote": true}, &started)
	eventually(t, 3*time.Minute, "the first champion is trained", func() bool {
		var run ledger.Run
		g.call(t, "GET", "/api/v1/runs/"+started.Run, nil, &run)
		if run.State == "failed" {
			t.Fatalf("training failed: %s", run.Error)
		}
		return run.State == "done"
	})
	eventually(t, time.Minute, "the gateway is ready", func() bool { return answers(g.address + "/-/ready") })
}

func championOf(t *testing.T, g *gateway) string {
	t.Helper()
	var v struct {
		Version string `json:"model_version"`
	}
	g.call(t, "GET", "/version", nil, &v)
	return v.Version
}

func latest(t *testing.T, g *gateway, pipeline string) ledger.Run {
	t.Helper()
	var out struct{ Runs []ledger.Run }
	g.call(t, "GET", "/api/v1/runs?limit=1&pipeline="+pipeline, nil, &out)
	if len(out.Runs) == 0 {
		return ledger.Run{}
	}
	return out.Runs[0]
}
