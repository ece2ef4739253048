package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"driftgate/alerts"
)

func TestRulesPrintsWhatShipsAndRefusesWhatCanNeverFire(t *testing.T) {
	want, err := alerts.Files.ReadFile("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	if code, out, errs := drive(t, "rules"); code != 0 || out != string(want) {
		t.Errorf("driftgate rules: code %d, %s, %d bytes, want the %d of alerts/rules.yml", code, errs, len(out), len(want))
	}
	_, slo, _ := drive(t, "rules", "--describe")
	file := filepath.Join(t.TempDir(), "slo.yml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Replace(slo, "objective: 0.9 ", "objective: 0.95 ", 1))
	if code, out, errs := drive(t, "rules", "--slo", file); code != 0 || !strings.Contains(out, "> 3 * (1 - 0.95)") {
		t.Errorf("another objective: code %d, %s", code, errs)
	}
	write(strings.Replace(slo, "budget: 0.1,", "budget: 0.2,", 1))
	if code, out, errs := drive(t, "rules", "--slo", file); code == 0 || out != "" || !strings.Contains(errs, "6 x (1 - 0.9) = 0.6") {
		t.Errorf("an infeasible burn rate: code %d, printed %q, said %q", code, out, errs)
	}
	write(slo)
	if code, out, errs := drive(t, "rules", "--slo", file, "--set", "metrics.windows=1h,24h,7d"); code != exitUsage || out != "" ||
		!strings.Contains(errs, "burn_rates[0].short 6h") || !strings.Contains(errs, "metrics.windows are 1h, 24h, 7d") {
		t.Errorf("a window that nobody exports: code %d, printed %q, said %q", code, out, errs)
	}
	if code, out, errs := drive(t, "rules", "--slo", file, "--set", "metrics.windows=6h,24h,7d"); code != exitDone || out != string(want) {
		t.Errorf("the windows that are asked for: code %d, %s", code, errs)
	}
	if code, _, errs := drive(t, "rules", "--slo", file+".none"); code == 0 || !strings.Contains(errs, "no such file") {
		t.Errorf("no file: code %d, %s", code, errs)
	}
}
