package alerts

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// find returns the tool of that name: from $DRIFTGATE_TOOLS, from where
// .ci/tools puts it, or from PATH. Without it the test is skipped.
func find(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{os.Getenv("DRIFTGATE_TOOLS"), filepath.Join("..", ".cache", "bin")} {
		if path, err := filepath.Abs(filepath.Join(dir, name)); err == nil && dir != "" {
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not there (.ci/tools installs it): this was not tested", name)
	}
	return path
}

func runs(t *testing.T, tool string, args ...string) {
	t.Helper()
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v\n%s", filepath.Base(tool), strings.Join(args, " "), err, out)
	}
}

func TestRulesFireAndKeepQuiet(t *testing.T) {
	promtool := find(t, "promtool")
	runs(t, promtool, "check", "rules", "--lint=all", "--lint-fatal", "rules.yml")
	runs(t, promtool, "test", "rules", "rules_test.yml", "rules_hours_test.yml")
	runs(t, promtool, "check", "config", "--syntax-only", "--lint=all", "--lint-fatal", "../deploy/prometheus.yml")
}

func TestPintFindsNothingInTheRules(t *testing.T) {
	runs(t, find(t, "pint"), "--offline", "--no-color", "--config", "pint.hcl", "lint", "--min-severity=info", "--fail-on=info", "rules.yml")
}

func TestPintWouldFindAMistake(t *testing.T) {
	rules, err := Files.ReadFile("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	pint := find(t, "pint")
	for name, change := range map[string][2]string{
		"a rate of a recorded mean":    {"deriv(driftgate_capture_spool_items[15m])", "deriv(driftgate_capture_spool_items)"},
		"an alert without a severity":  {"severity: critical", "grade: critical"},
		"a comparison that is missing": {`up{job="driftgate"} == 0`, `up{job="driftgate"}`},
		"a name without a level":       {"model_window:driftgate_window_labels:sum", "driftgate_window_labels_sum"},
	} {
		text := strings.ReplaceAll(string(rules), change[0], change[1])
		if text == string(rules) {
			t.Fatalf("%s: rules.yml has no %q", name, change[0])
		}
		file := filepath.Join(t.TempDir(), "rules.yml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(pint, "--offline", "--no-color", "--config", "pint.hcl", "lint", "--fail-on=warning", file).CombinedOutput(); err == nil {
			t.Errorf("%s passes\n%s", name, out)
		}
	}
}

var (
	alertLine = regexp.MustCompile(`(?m)^\s*- alert: (\w+)$`)
	linkLine  = regexp.MustCompile(`runbook_url: "[^#]+#([a-z-]+)"`)
)

// alertTexts are the alerts of rules.yml: each its name and its YAML, as often
// as it is there.
func alertTexts(t *testing.T) (texts [][2]string) {
	t.Helper()
	rules, err := Files.ReadFile("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	names := alertLine.FindAllStringSubmatchIndex(string(rules), -1)
	for i, n := range names {
		end := len(rules)
		if i+1 < len(names) {
			end = names[i+1][0]
		}
		texts = append(texts, [2]string{string(rules[n[2]:n[3]]), string(rules[n[0]:end])})
	}
	if len(texts) < 13 {
		t.Fatalf("found %d alerts in rules.yml, want at least 13", len(texts))
	}
	return texts
}

func TestEveryAlertHasATestAndItsWords(t *testing.T) {
	var tests []byte
	for _, name := range []string{"rules_test.yml", "rules_hours_test.yml"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tests = append(tests, b...)
	}
	for _, a := range alertTexts(t) {
		name, text := a[0], a[1]
		for _, word := range []string{"for:", "keep_firing_for:", "service: driftgate", "severity:", "summary:", "description:", "runbook_url:", "dashboard_url:"} {
			if !strings.Contains(text, word) {
				t.Errorf("%s has no %s", name, word)
			}
		}
		quiet := regexp.MustCompile(`alertname: ` + name + `, exp_alerts: \[\]`).Match(tests)
		firing := regexp.MustCompile(`alertname: ` + name + `(\s+|, )exp_alerts: ?(&|\*|\n\s+- exp_labels)`).Match(tests)
		if !quiet || !firing {
			t.Errorf("%s: quiet case %v, firing case %v; want both in rules_test.yml or rules_hours_test.yml", name, quiet, firing)
		}
	}
}

// anchor is where GitHub and others put a heading.
func anchor(heading string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimSpace(heading)), " ", "-")
}

var camel = regexp.MustCompile(`([a-z])([A-Z])`)

func TestEveryAlertHasARunbookWithAllItsParts(t *testing.T) {
	b, err := os.ReadFile("../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, part := range strings.Split(string(b), "\n## ")[1:] {
		heading, text, _ := strings.Cut(part, "\n")
		sections[anchor(heading)] = text
	}
	wanted := map[string]bool{}
	for _, a := range alertTexts(t) {
		link := linkLine.FindStringSubmatch(a[1])
		if link == nil || link[1] != strings.ToLower(camel.ReplaceAllString(a[0], "$1-$2")) {
			t.Errorf("%s: runbook link %v is not the alert's name", a[0], link)
			continue
		}
		wanted[link[1]] = true
		text, ok := sections[link[1]]
		if !ok {
			t.Errorf("docs/runbooks.md has no section %s", link[1])
			continue
		}
		for _, part := range []string{"**Means:**", "**Look:**", "**Do:**", "**Silence:**", "amtool silence add --alertmanager.url=", "alertname=" + a[0] + " "} {
			if !strings.Contains(text, part) {
				t.Errorf("docs/runbooks.md: the section %s has no %s", link[1], part)
			}
		}
	}
	for name, text := range sections {
		if strings.Contains(text, "amtool silence add") && !wanted[name] {
			t.Errorf("docs/runbooks.md: the section %s belongs to no alert", name)
		}
	}
}
