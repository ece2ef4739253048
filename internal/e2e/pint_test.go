//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPintFindsEverySeriesOfTheRulesInPrometheus asks a Prometheus that a
// working gateway has filled: every series and label value that the shipped
// rules select is there, and every function gets the kind of series it is for.
func TestPintFindsEverySeriesOfTheRulesInPrometheus(t *testing.T) {
	root := repository(t)
	g := serve(t, filepath.Join(t.TempDir(), "gateway"), `model: garments
http: {listen: "127.0.0.1:0", rate_per_ip: 0}
curate: {every: 1s, random: 12}
collect: {every: 1s, undo: 0s}
reconcile: {every: 0s}
metrics: {windows: [6h, 24h, 7d], stride: 1s, min_labels: 30, refresh: 1s}
alarm: {years: 1e9, slot: 1s, label_grace: 5s, reference_labels: 150}
`)
	firstChampion(t, g)
	crowd := crowd(t, g, 50)
	shipped := filepath.Join(root, "alerts", "rules.yml")
	prometheus := startPrometheus(t, fmt.Sprintf("- {job_name: driftgate, static_configs: [{targets: [%q]}]}\nrule_files: [%q]\n",
		strings.TrimPrefix(g.address, "http://"), shipped))
	eventually(t, 3*time.Minute, "all windows have figures, and the reference and the gap are known", func() bool {
		return len(query(t, prometheus, `driftgate_production_accuracy_ratio{estimator="stratified"}`)) == 3 &&
			len(query(t, prometheus, "driftgate_reference_accuracy_ratio and on (model) driftgate_accuracy_gap_upper_ratio")) == 1 &&
			len(query(t, prometheus, "model_window:driftgate_production_error_lower_ratio:stratified")) == 3 &&
			len(query(t, prometheus, "job_verdict:driftgate_retrain_runs:increase3d")) > 0
	})
	crowd.end()

	house, err := os.ReadFile(filepath.Join(root, "alerts", "pint.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := write(t, filepath.Join(dir, "pint.hcl"), fmt.Sprintf(`%s
prometheus "live" {
  uri     = %q
  timeout = "30s"
}
check "promql/series" { # Prometheus has been there for a minute, not for a week
  lookbackRange = "10m"
  lookbackStep  = "5s"
}
`, house, prometheus))
	pint := func(file string) (string, error) {
		out, err := exec.Command(tool(t, "pint"), "--no-color", "--config", config, "lint", "--fail-on=warning", file).CombinedOutput()
		return string(out), err
	}
	out, err := pint(shipped)
	t.Logf("pint online:\n%s", out)
	if err != nil || !strings.Contains(out, "online=true") {
		t.Errorf("pint: %v", err)
	}
	text, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	for i, change := range [][2]string{
		{"driftgate_window_predictions", "driftgate_window_uploads"},
		{`window="24h",estimator="stratified"`, `window="24h",estimator="weighted"`},
		{"deriv(driftgate_capture_spool_items[15m])", "rate(driftgate_capture_spool_items[15m])"},
	} {
		file := write(t, filepath.Join(dir, fmt.Sprintf("wrong%d.yml", i)), strings.ReplaceAll(string(text), change[0], change[1]))
		if out, err := pint(file); err == nil {
			t.Errorf("pint doesn't see that %s became %s\n%s", change[0], change[1], out)
		}
	}
}
