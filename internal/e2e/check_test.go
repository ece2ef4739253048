//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// checked runs `driftgate check` beside a gateway; lines are by name, "status
// detail -> fix".
func checked(t *testing.T, g *gateway, config string, args ...string) map[string]string {
	t.Helper()
	args = append([]string{"check", "--dir", g.dir, "--config", write(t, filepath.Join(t.TempDir(), "driftgate.yml"), config), "--format", "json"}, args...)
	out, err := exec.Command(filepath.Join(repository(t), "bin", "driftgate"), args...).Output()
	var report struct {
		OK     bool
		Checks []struct{ Name, Status, Detail, Fix string }
	}
	if e := json.Unmarshal(out, &report); e != nil || report.OK != (err == nil) {
		t.Fatalf("driftgate check: %v, %v: %s", err, e, out)
	}
	lines := map[string]string{}
	for _, c := range report.Checks {
		lines[c.Name] = c.Status + " " + c.Detail + " -> " + c.Fix
	}
	return lines
}

// TestCheckFindsItsGatewayInRealServers has one gateway with closed metrics and
// three Prometheus: one that is set up as deploy/prometheus.yml is, one that
// hears of the gateway by statsd_exporter alone, and one with every mistake.
func TestCheckFindsItsGatewayInRealServers(t *testing.T) {
	root, dir := repository(t), t.TempDir()
	udp, page, port := freePort(t), freePort(t), freePort(t)
	config := fmt.Sprintf("http: {listen: \"127.0.0.1:0\", open_metrics: false, alerts_token: alerts-token-of-this-test}\nstatsd: {address: \"127.0.0.1:%d\", every: 1s}\n", udp)
	start(t, nil, tool(t, "statsd_exporter"), fmt.Sprintf("--statsd.listen-udp=127.0.0.1:%d", udp), "--statsd.listen-tcp=",
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", page), "--statsd.mapping-config="+mapping(t, root, dir))
	eventually(t, 30*time.Second, "statsd_exporter is ready", func() bool { return answers(fmt.Sprintf("http://127.0.0.1:%d/metrics", page)) })
	g := serve(t, filepath.Join(dir, "gateway"), config)

	// Alertmanager's own configuration as it ships; its token file is never read here.
	write(t, filepath.Join(dir, "driftgate-token"), g.token)
	start(t, nil, tool(t, "alertmanager"), "--config.file="+filepath.Join(root, "deploy", "alertmanager.yml"), "--storage.path="+filepath.Join(dir, "am"),
		"--cluster.listen-address=", fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port))
	eventually(t, 30*time.Second, "Alertmanager is ready", func() bool { return answers(fmt.Sprintf("http://127.0.0.1:%d/-/ready", port)) })
	rules := fmt.Sprintf("rule_files: [%q]\nalerting: {alertmanagers: [{static_configs: [{targets: [\"127.0.0.1:%d\"]}]}]}\n", filepath.Join(root, "alerts", "rules.yml"), port)
	target := strings.TrimPrefix(g.address, "http://")
	scraped := startPrometheus(t, fmt.Sprintf("- {job_name: driftgate, authorization: {credentials_file: %q}, static_configs: [{targets: [%q]}]}\n", filepath.Join(dir, "driftgate-token"), target)+rules)
	told := startPrometheus(t, fmt.Sprintf("- {job_name: driftgate-statsd, static_configs: [{targets: [\"127.0.0.1:%d\"]}]}\n", page)+rules)
	wrong := startPrometheus(t, fmt.Sprintf("- {job_name: driftgate, static_configs: [{targets: [%q]}]}\n", target))

	expect := func(server string, want map[string]string) {
		t.Helper()
		var lines map[string]string
		eventually(t, 90*time.Second, "check finds the gateway", func() bool {
			lines = checked(t, g, config, "--prometheus", server)
			return strings.HasPrefix(lines["scrape"], want["scrape"]) && strings.HasPrefix(lines["loaded rules"], want["loaded rules"][:4])
		})
		for line, words := range want {
			status, says, _ := strings.Cut(words, " ")
			if !strings.HasPrefix(lines[line], status) || !strings.Contains(lines[line], says) {
				t.Errorf("%s: %q, want %s with %q", line, lines[line], status, says)
			}
		}
	}
	expect(scraped, map[string]string{"prometheus": "ok at http://127.0.0.1", "scrape": "ok instance " + target + " of job driftgate",
		"loaded rules": "ok 3 groups", "alertmanager": "ok with a webhook", "alerts token": "ok opens POST", "rules": "ok every window"})
	// GatewayDown looks at a job that this Prometheus has not.
	expect(told, map[string]string{"scrape": fmt.Sprintf("ok instance 127.0.0.1:%d of job driftgate-statsd", page),
		"loaded rules": "fail GatewayDown asks for job driftgate", "alertmanager": "ok with a webhook"})
	expect(wrong, map[string]string{"scrape": "warn", "loaded rules": "fail not loaded: driftgate_accuracy, driftgate_gateway, driftgate_retraining", "alertmanager": "fail to nobody"})
}
