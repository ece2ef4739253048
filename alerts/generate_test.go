package alerts

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	dg "driftgate"
)

var update = flag.Bool("update", false, "write rules.yml anew from slo.yml")

func shipped(t *testing.T) SLO {
	t.Helper()
	b, err := Files.ReadFile("slo.yml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSLO(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRulesAreUpToDate(t *testing.T) {
	want, err := Generate(shipped(t))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("rules.yml", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("rules.yml is not what slo.yml gives: run `make rules`")
	}
}

// description is slo.yml with some of its words changed.
func description(t *testing.T, changes ...string) []byte {
	t.Helper()
	b, err := Files.ReadFile("slo.yml")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(string(b), changes[i]) {
			t.Fatalf("slo.yml has no %q", changes[i])
		}
	}
	return []byte(strings.NewReplacer(changes...).Replace(string(b)))
}

func TestABurnRateThatCanNeverFireIsRefusedWithTheArithmetic(t *testing.T) {
	const page = "{long: 24h, short: 6h, budget: 0.1, severity: critical}"
	for _, tt := range []struct{ name, objective, rate, want string }{
		{"14.4 times 10% is no error ratio", "0.9", "{long: 1h, short: 5m, budget: 0.02, severity: critical}",
			"0.02 x 30d / 1h = 14.4 times the pace that the objective allows; it takes an error of 14.4 x (1 - 0.9) = 1.44, and reachable_error_ratio is 0.5: it would never fire; take a budget below 0.006944 or a long window over 2.88 hours"},
		{"72% is an error that nobody has", "0.95", "{long: 1h, short: 5m, budget: 0.02, severity: critical}", "14.4 x (1 - 0.95) = 0.72"},
		{"exactly what can be reached is not over it", "0.95", "{long: 3h, short: 1h, budget: 0.0416666666666666666, severity: critical}", "= 0.5, and"},
		{"no faster than the objective allows", "0.9", "{long: 3d, short: 6h, budget: 0.1, severity: warning}", "take a budget over 0.1"},
		{"short and long changed round", "0.9", "{long: 6h, short: 24h, budget: 0.1, severity: warning}", "want short below long"},
		{"no severity", "0.9", "{long: 24h, short: 6h, budget: 0.1}", "want critical, warning or info"},
		{"more than all of the budget", "0.9", "{long: 24h, short: 6h, budget: 2, severity: info}", "want over 0, at most 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseSLO(description(t, "objective: 0.9", "objective: "+tt.objective, page, tt.rate))
			if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "burn_rates[0]") {
				t.Errorf("got %v\nwant ErrInvalid for burn_rates[0] with %q", err, tt.want)
			}
		})
	}
}

func TestTheWorkbooksBurnRatesAreFeasibleForAHighObjective(t *testing.T) {
	rates := "{long: 1h, short: 5m, budget: 0.02, severity: critical}"
	s, err := ParseSLO(description(t, "objective: 0.9 ", "objective: 0.99 ", "{long: 24h, short: 6h, budget: 0.1, severity: critical}", rates))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.BurnRates[0].Factor(s.Period); math.Abs(got-14.4) > 1e-9 {
		t.Errorf("2%% of 30d in 1h is a burn rate of %g, want 14.4", got)
	}
	text, err := Generate(s)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `:stratified{window="1h"} > 14.4 * (1 - 0.99)`) {
		t.Error("the rule doesn't compare with 14.4 times 1%")
	}
}

func TestEveryMistakeOfADescriptionIsNamed(t *testing.T) {
	_, err := ParseSLO(description(t, "objective: 0.9 ", "objective: 90 ", "min_labels: 100", "min_labels: 3",
		"job: driftgate", `job: "a\"} or up"`, "https://grafana.example/d", `https://x/"{{ $labels }}"`, "tolerance: 0.02", "tolerance: .nan"))
	for _, want := range []string{"objective 90", "min_labels 3", `job "a\"}`, "dashboards", "tolerance NaN"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v doesn't name %s", err, want)
		}
	}
	for name, b := range map[string][]byte{
		"an unknown key": description(t, "labels_stale:", "labels_stall:"), "a span in words": description(t, "24h", "a day"),
		"no YAML": []byte("{"), "nothing": nil, "a bomb": make([]byte, maxSLO+1),
	} {
		if _, err := ParseSLO(b); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	if _, err := Generate(SLO{}); err == nil {
		t.Error("rules were made from nothing")
	}
}

func TestWhateverDescriptionPassesGivesRulesThatPrometheusTakes(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not on PATH: the rules were not tested here")
	}
	for i, changes := range [][]string{
		{"objective: 0.9 ", "objective: 0.995 ", "job: driftgate", "job: ml/gateways"},
		{"  - {long: 24h, short: 6h, budget: 0.1, severity: critical}", "", "  - {long: 7d, short: 24h, budget: 0.4, severity: warning}", ""},
		{"window: 24h", "window: 7d", "labels_stale: 2d", "labels_stale: 90m"},
	} {
		s, err := ParseSLO(description(t, changes...))
		if err != nil {
			t.Fatal(err)
		}
		text, err := Generate(s)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), fmt.Sprintf("rules%d.yml", i))
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(promtool, "check", "rules", "--lint=all", "--lint-fatal", path).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", changes, err, out)
		}
	}
}
