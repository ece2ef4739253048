package alerts

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func TestRulesFireAndKeepQuiet(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not on PATH: the rules were not tested here")
	}
	for _, args := range [][]string{{"check", "rules", "rules.yml"}, {"test", "rules", "rules_test.yml"}, {"check", "config", "--syntax-only", "../deploy/prometheus.yml"}} {
		out, err := exec.Command(promtool, args...).CombinedOutput()
		if err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

var alertLine = regexp.MustCompile(`(?m)^\s*- alert: (\w+)$`)

func TestEveryAlertHasATestAndItsWords(t *testing.T) {
	rules, err := Files.ReadFile("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("rules_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	names := alertLine.FindAllStringSubmatchIndex(string(rules), -1)
	if len(names) < 6 {
		t.Fatalf("found %d alerts in rules.yml, want at least 6", len(names))
	}
	for i, n := range names {
		name, end := string(rules[n[2]:n[3]]), len(rules)
		if i+1 < len(names) {
			end = names[i+1][0]
		}
		text := string(rules[n[0]:end])
		for _, word := range []string{"severity:", "summary:", "description:", "runbook_url:", "keep_firing_for:"} {
			if !strings.Contains(text, word) {
				t.Errorf("%s has no %s", name, word)
			}
		}
		quiet := regexp.MustCompile(`alertname: ` + name + `, exp_alerts: \[\]`).Match(tests)
		firing := regexp.MustCompile(`alertname: ` + name + `(\s+|, )exp_alerts: ?(&|\*|\n\s+- exp_labels)`).Match(tests)
		if !quiet || !firing {
			t.Errorf("%s: quiet case %v, firing case %v; want both in rules_test.yml", name, quiet, firing)
		}
	}
}
