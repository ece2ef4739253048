package metrics

import (
	"bytes"
	"flag"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/ledger"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// published is a snapshot in which every figure is known.
func published() Snapshot {
	figure := func(name string, v float64) dg.Estimate {
		return dg.Estimate{Estimator: name, Accuracy: v, Lower: v - .05, Upper: v + .05, Labels: 60}
	}
	ref := dg.ModelRef("sha256:" + strings.Repeat("a", 64))
	s := Snapshot{At: noon, Model: "garments", ModelVersion: ref.Short(),
		Champion: dg.Champion{Model: "garments", Version: ref, Previous: refB, Generation: 2, PromotedAt: noon.Add(-time.Hour)}}
	s.Windows = []dg.Accuracy{
		{Window: "1h", Strata: []dg.StratumCount{{Stratum: dg.Random, Predictions: 20, Labels: 2}}, Estimates: []dg.Estimate{figure(estimate.NameExpected, .9)}},
		{Window: "24h", Strata: []dg.StratumCount{{Stratum: dg.Random, Predictions: 900, Labels: 30}, {Stratum: dg.Flagged, Predictions: 20, Labels: 10}},
			Gap: &dg.Gap{Difference: -.06, Lower: -.1, Upper: -.02, Labels: 60, Significant: true}},
	}
	for i, name := range estimate.Names {
		s.Windows[1].Estimates = append(s.Windows[1].Estimates, figure(name, .8+float64(i)/100))
	}
	s.Windows[1].Slices = []dg.Slice{
		{By: "class", Value: "Ankle boot", Estimates: []dg.Estimate{figure(estimate.NameStratified, .75), figure(estimate.NameLabelled, .5)}},
		{By: "class", Value: "T-shirt/top"}, // too few labels
		{By: "confidence", Value: "0.50-0.70", Estimates: []dg.Estimate{figure(estimate.NameStratified, .6)}},
	}
	s.Alarm = AlarmStatus{State: estimate.Firing, Evidence: 12.5, Watching: true, ReferenceError: .12,
		Sequence: Sequence{Lower: .7, Upper: .85, Blocks: 40}, EValue: 31}
	s.Drift = DriftStatus{Complete: true, Tests: map[string]estimate.Drift{}}
	for i, test := range DriftTests {
		s.Drift.Tests[test] = estimate.Drift{Score: .1 + float64(i)/10, Threshold: .2}
	}
	s.NewestLabelAt = noon.Add(-time.Minute)
	s.Outcomes = []ledger.Outcome{{ModelVersion: ref.Short(), Stratum: "random", Correct: true, Count: 27}, {ModelVersion: "0123456789ab", Stratum: "flagged", Count: 3}}
	s.Delays = ledger.Delays{Counts: make([]int, len(ledger.DelayBuckets)+1), Total: 60, Seconds: 30 * 3600}
	s.Delays.Counts[2], s.Delays.Counts[14] = 59, 1
	return s
}

// scrape is what GET /metrics shows of a snapshot; nil: of none.
func scrape(t *testing.T, s *Snapshot) string {
	t.Helper()
	m := New(Options{Model: "garments"}, nil)
	if s != nil {
		m.latest.Store(s)
		m.refreshed.Store(time.Now().UnixNano())
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(m)
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

// The names, labels and helps of /metrics are a promise to rules and
// dashboards: a change must be seen here.
func TestSeriesAreThoseOfTheGoldenFile(t *testing.T) {
	s := published()
	got := scrape(t, &s)
	path := filepath.Join("testdata", "metrics.txt")
	if *update {
		must(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if got != string(want) {
		t.Errorf("/metrics differs from %s (go test -run Golden -update rewrites it):\n%s", path, got)
	}
	for _, d := range descs {
		name := strings.Split(d.String(), `"`)[1]
		if !strings.Contains(got, "# HELP "+name+" ") {
			t.Errorf("%s has no series in a snapshot that knows everything", name)
		}
	}
}

func TestPromtoolFindsNoFault(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not on PATH: the series were not checked here")
	}
	s := published()
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(scrape(t, &s))
	if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

func TestNothingIsSaidBeforeTheFirstSnapshot(t *testing.T) {
	if got := scrape(t, nil); got != "" {
		t.Errorf("%s", got)
	}
}

func TestWhereThereIsNoFigureThereIsNoSeries(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, tt := range []struct {
		name   string
		edit   func(*Snapshot)
		absent []string // beginnings of lines
		there  []string
	}{
		{"too few labels", func(s *Snapshot) { s.Windows[1].Estimates, s.Windows[1].Slices, s.Windows[1].Gap = nil, nil, nil },
			[]string{`driftgate_production_accuracy_ratio{estimator="stratified"`, "driftgate_slice_", "driftgate_accuracy_gap_"},
			[]string{`driftgate_window_labels{model="garments",stratum="low_confidence",window="24h"} 0`}},
		{"a figure with a bound that is none", func(s *Snapshot) { s.Windows[1].Estimates[0].Lower, s.Windows[1].Gap.Upper = nan, inf },
			[]string{`driftgate_production_accuracy_ratio{estimator="stratified"`, `driftgate_production_accuracy_upper_ratio{estimator="stratified"`, "driftgate_accuracy_gap_"},
			[]string{`driftgate_production_accuracy_ratio{estimator="labelled",model="garments",window="24h"} 0.82`}},
		{"the reference is not known yet", func(s *Snapshot) { s.Alarm = AlarmStatus{State: estimate.Quiet}; s.Drift = DriftStatus{} },
			[]string{"driftgate_reference_", "driftgate_accuracy_sequence_", "driftgate_input_drift_"},
			[]string{`driftgate_accuracy_alarm_state{model="garments"} 0`, `driftgate_accuracy_evalue{model="garments"} 0`}},
		{"no block since the reference", func(s *Snapshot) { s.Alarm.Sequence, s.Alarm.EValue = Sequence{Upper: 1}, 1 },
			[]string{"driftgate_accuracy_sequence_"}, []string{"driftgate_reference_accuracy_ratio{"}},
		{"evidence beyond all numbers", func(s *Snapshot) { s.Alarm.EValue = inf }, nil,
			[]string{`driftgate_accuracy_sequence_evalue{model="garments"} 1.7976931348623157e+308`}},
		{"no champion, no label", func(s *Snapshot) { *s = Snapshot{At: noon, Model: "garments", Windows: []dg.Accuracy{{Window: "1h"}}} },
			[]string{"driftgate_model_info", "driftgate_labelled_", "driftgate_newest_", "driftgate_champion_"},
			[]string{`driftgate_label_delay_seconds_count{model="garments"} 0`, `driftgate_window_predictions{model="garments",stratum="random",window="1h"} 0`}},
		{"a champion without a label", func(s *Snapshot) { s.Outcomes = nil }, nil,
			[]string{`driftgate_labelled_predictions_total{model_version="aaaaaaaaaaaa",outcome="incorrect",stratum="corrected"} 0`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := published()
			tt.edit(&s)
			got := scrape(t, &s)
			for _, line := range tt.absent {
				for l := range strings.Lines(got) {
					if strings.HasPrefix(l, line) && (!strings.Contains(line, "stratified") || strings.Contains(l, `window="24h"`)) {
						t.Errorf("exported: %s", l)
					}
				}
			}
			for _, line := range tt.there {
				if !strings.Contains(got, "\n"+line) {
					t.Errorf("not exported: %s", line)
				}
			}
			if strings.Contains(got, " NaN\n") || strings.Contains(got, " +Inf\n") {
				t.Error("a figure that is none was exported")
			}
		})
	}
}
