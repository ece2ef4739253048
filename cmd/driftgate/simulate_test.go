package main

import (
	"encoding/json"
	"strings"
	"testing"

	"driftgate/internal/simulate"
)

func TestSimulateAnswersWithoutAGateway(t *testing.T) {
	quick := []string{"simulate", "--runs", "2", "--days", "4", "--quiet-days", "2", "--drop", "0.4,0.5", "--random-per-interval", "3,6", "--set", "alarm.label_grace=2h", "--set", "alarm.reference_labels=300"}
	code, out, stderr := drive(t, append(quick, "--format", "json")...)
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var r simulate.Report
	var options struct {
		Options map[string]any `json:"options"`
	}
	// Options themselves are not read back: their durations are text.
	if err := json.Unmarshal([]byte(out), &options); err != nil {
		t.Fatal(err)
	}
	if options.Options["alarm_label_grace"] != "2h0m0s" || options.Options["alarm_years"] != 10. {
		t.Errorf("options %v: want the configuration's alarm", options.Options)
	}
	if i := strings.Index(out, `"rates"`); i < 0 || json.Unmarshal([]byte("{"+out[i:]), &r) != nil {
		t.Fatalf("no rates in %s", out)
	}
	if len(r.Rates) != 2 || r.Rates[1].RandomPerInterval != 6 || len(r.Rates[0].Detectors) != len(simulate.Detectors) || len(r.Rates[0].Detectors[0].Drops) != 2 {
		t.Errorf("%+v", r.Rates)
	}
	code, text, _ := drive(t, quick...)
	for _, want := range []string{"reference of 300 labels", "3 random picks an interval of 30m", "drop of 40 points", "alarm_known", "adwin"} {
		if code != exitDone || !strings.Contains(text, want) {
			t.Errorf("exit code %d, no %q in:\n%s", code, want, text)
		}
	}
}

func TestSimulateRefusesWhatCannotBe(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"percent for a ratio":      {[]string{"--accuracy", "90"}, "accuracy 90: want between 0 and 1, not a percentage"},
		"an accuracy of nothing":   {[]string{"--accuracy", "0"}, "--accuracy 0: want more than 0"},
		"labels after their grace": {[]string{"--label-delay", "30h"}, "label grace 24h0m0s: want at least the label delay of 30h0m0s"},
		"a drop of more than all":  {[]string{"--drop", "0.95"}, "at most the accuracy"},
	} {
		code, _, stderr := drive(t, append([]string{"simulate"}, tt.args...)...)
		if code != exitUsage || !strings.Contains(stderr, tt.says) {
			t.Errorf("%s: exit code %d, no %q in: %s", name, code, tt.says, stderr)
		}
	}
}
