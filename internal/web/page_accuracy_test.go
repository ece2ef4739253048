package web

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/metrics"
)

func TestTheGapIsSaidInWords(t *testing.T) {
	both := []dg.Estimate{{Estimator: headline, Accuracy: .842}, {Estimator: "expected", Accuracy: .866}}
	for _, tt := range []struct {
		name       string
		in         dg.Accuracy
		referenced bool
		kind       string
		says       string
	}{
		{"no reference yet", dg.Accuracy{Estimates: both}, false, "none", "still being gathered"},
		{"too few labels", dg.Accuracy{}, true, "none", "too few labels"},
		{"expected alone", dg.Accuracy{Estimates: both[1:]}, true, "none", "confidence promises 86.6%"},
		{"agreement", dg.Accuracy{Estimates: both, Gap: &dg.Gap{Difference: -.01, Lower: -.03, Upper: .01}}, true, "same", "−1.0 points (95% bounds −3.0 to +1.0), which chance explains"},
		{"worse", dg.Accuracy{Estimates: both, Gap: &dg.Gap{Difference: -.06, Lower: -.08, Upper: -.04, Significant: true}}, true, "worse", "doesn't know that it is wrong"},
		{"better", dg.Accuracy{Estimates: both, Gap: &dg.Gap{Difference: .06, Lower: .04, Upper: .08, Significant: true}}, true, "better", "promises too little"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := gapOf(tt.in, tt.referenced)
			if words := strings.Join(b.Words, " "); b.Kind != tt.kind || !strings.Contains(words, tt.says) || b.Title == "" {
				t.Errorf("%s %q: %q, want %s with %q", b.Kind, b.Title, words, tt.kind, tt.says)
			}
			if b.Plot.Has != (tt.in.Gap != nil) {
				t.Errorf("drawn: %v", b.Plot.Has)
			}
		})
	}
}

func TestInputDriftIsShownAgainstItsThreshold(t *testing.T) {
	test := func(score float64) estimate.Drift { return estimate.Drift{Score: score, Threshold: .1, PValue: .2} }
	for _, tt := range []struct {
		name string
		in   metrics.DriftStatus
		kind string
		says string // of the sentence
		note string
	}{
		{"no champion", metrics.DriftStatus{}, "idle", "", "no champion"},
		{"reference incomplete", metrics.DriftStatus{ReferencePredictions: 412, ReferenceNeeded: 1000}, "idle", "", "412 of 1\u202f000 predictions"},
		{"too few since", metrics.DriftStatus{ReferencePredictions: 1000, ReferenceNeeded: 1000, Complete: true}, "idle", "", "Too few predictions"},
		{"quiet", metrics.DriftStatus{ReferenceNeeded: 1, Complete: true, Window: "24h", End: testNow, Tests: map[string]estimate.Drift{"class_mix": test(.05), "features": test(.1)}}, "quiet", "as it did at first", "24h of predictions until 14 Mar 2026 15:00"},
		{"one of two", metrics.DriftStatus{ReferenceNeeded: 1, Complete: true, Tests: map[string]estimate.Drift{"class_mix": test(.05), "confidence": test(.101)}}, "over", "by 1 of 2 tests", ""},
		{"all", metrics.DriftStatus{ReferenceNeeded: 1, Complete: true, Tests: map[string]estimate.Drift{"class_mix": test(9)}}, "over", "by every test", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := driftOf(tt.in)
			if b.Kind != tt.kind || !strings.Contains(b.Words(), tt.says) || !strings.Contains(b.Note, tt.note) {
				t.Errorf("%s %q %q, want %s %q %q", b.Kind, b.Words(), b.Note, tt.kind, tt.says, tt.note)
			}
			for _, r := range b.Rows {
				if r.Title == "" || r.Meaning == "" || r.Share < 0 || r.Share > 1 || r.Over != (r.Share > driftMark) {
					t.Errorf("%+v: over its threshold only right of the mark at %g", r, driftMark)
				}
			}
		})
	}
	for _, test := range metrics.DriftTests {
		if driftMeaning[test].Meaning == "" {
			t.Errorf("nobody says what %s is", test)
		}
	}
}

func TestTheAlarmSaysWhatToHopeFor(t *testing.T) {
	a := metrics.AlarmStatus{State: estimate.Quiet, Watching: true, P0: .11, ThresholdYears: 10, Started: testNow.Add(-50 * 24 * time.Hour), WatchingSince: testNow.Add(-40 * 24 * time.Hour),
		ClosedUntil: testNow, Sequence: metrics.Sequence{Lower: .85, Upper: .92, Blocks: 4000}}
	// 100 blocks a day: estimate.Detector.DetectionDelay, in days.
	if got, want := hopeWords(a), "At the pace of your labels it would notice a fall to 86.0% within 24 days, to 84.0% within 10 days, to 79.0% within 3 days, to 69.0% within 22 h."; got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
	for name, change := range map[string]func(*metrics.AlarmStatus){
		"firing": func(a *metrics.AlarmStatus) { a.State = estimate.Firing }, "no block yet": func(a *metrics.AlarmStatus) { a.Sequence.Blocks = 0 },
		"not watching": func(a *metrics.AlarmStatus) { a.Watching = false }, "no time yet": func(a *metrics.AlarmStatus) { a.ClosedUntil = a.WatchingSince },
	} {
		b := a
		change(&b)
		if got := hopeWords(b); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestAQuietAlarmBesideABadFigureSaysWhyItIsSlow(t *testing.T) {
	window := func(name string, upper float64) dg.Accuracy {
		return dg.Accuracy{Window: name, Estimates: []dg.Estimate{{Estimator: headline, Accuracy: upper - .1, Lower: upper - .2, Upper: upper}}}
	}
	bad, well, none := window("7d", .4), window("24h", .9), dg.Accuracy{Window: "1h"}
	for _, tt := range []struct {
		name string
		in   metrics.AlarmStatus
		w    []dg.Accuracy // the chosen one first
		late bool
		lamp string
	}{
		{"quiet beside a bad figure", metrics.AlarmStatus{State: estimate.Quiet, Watching: true, P0: .15}, []dg.Accuracy{bad}, true, "late"},
		{"quiet, another window is bad", metrics.AlarmStatus{State: estimate.Quiet, Watching: true, P0: .15}, []dg.Accuracy{well, none, bad}, true, "late"},
		{"quiet beside one that may be well", metrics.AlarmStatus{State: estimate.Quiet, Watching: true, P0: .15}, []dg.Accuracy{well, none}, false, "quiet"},
		{"firing", metrics.AlarmStatus{State: estimate.Firing, Watching: true, P0: .15}, []dg.Accuracy{bad}, false, "firing"},
		{"not watching", metrics.AlarmStatus{State: estimate.Quiet}, []dg.Accuracy{bad}, false, "idle"},
	} {
		b := boxOf(tt.in)
		b.beside(tt.w[0], tt.w)
		if said := strings.Contains(strings.Join(b.Words, " "), "The figure of the last 7d lies below that"); b.Late != tt.late || said != tt.late || b.Lamp() != tt.lamp {
			t.Errorf("%s: late %v, said %v, lamp %s; want %v, lamp %s", tt.name, b.Late, said, b.Lamp(), tt.late, tt.lamp)
		}
	}
}

func TestEvidenceIsRenderedForPeople(t *testing.T) {
	for in, want := range map[float64]string{0: "under 0.001", 1: "1", 1.844: "1.84", 41200: "41\u202f200", 3e8: "over a million"} {
		if got := evalueWords(in); got != want {
			t.Errorf("e-value %g: %q, want %q", in, got, want)
		}
	}
	if got := sequenceWords(metrics.Sequence{Upper: 1}); got != "–" {
		t.Errorf("without blocks the sequence is %q", got)
	}
	for years, want := range map[float64]string{1: "a year", 2.5: "2.5 years", 1.0 / 365.25: "24 h", 10 / 365.25: "10 days", .25: "3 months", 1e-9: "1 h"} {
		if got := yearsWords(years); got != want {
			t.Errorf("%g years: %q, want %q", years, got, want)
		}
	}
}

func TestTheLabelPlannerAnswersOrSaysWhyNot(t *testing.T) {
	wants(t, get(t, newFake(), "/accuracy?window=24h"), "Label 412 random images a day", "±2.0 points", "Today 240 of them are labelled a day, which gives ±3.1 points", "Counted in: 214 labels of the other strata")
	wants(t, get(t, newFake(), "/accuracy?window=24h&points=4"), "Label 103 random images a day", `value="4"`)
	wants(t, get(t, newFake(), "/accuracy?window=24h&points=1,5"), "Label 733 random images a day")
	wants(t, get(t, newFake(), "/accuracy?window=24h&points=0.4"), "±0.4 points can't be had over 24h: a label for all of its 507 random images gives ±0.9.")
	for _, wish := range []string{"0", "-1", "51", "NaN", "Inf", "many", "%3Cscript%3E"} {
		wants(t, get(t, newFake(), "/accuracy?points="+wish), "Want points between 0.1 and 50")
	}
}

func TestThePlannersWords(t *testing.T) {
	if got := strings.Join(planWords(estimate.Plan{HalfWidth: .015, NowHalfWidth: .3}, "7d"), " "); got != "No random label is needed: the others alone give ±1.5 points for 7d. Today none of them is labelled." {
		t.Errorf("%q", got)
	}
	if got := planWords(estimate.Plan{HalfWidth: .02, RandomLabels: 3, PerDay: .42, NowLabels: 1, NowPerDay: 12.2, OtherLabels: 1}, "7d"); got[0] != "Label 0.4 random images a day, and the accuracy of 7d is known to ±2.0 points." || !strings.HasPrefix(got[1], "Today 13 of them") || got[2] != "Counted in: 1 label of the other strata, which come anyway." {
		t.Errorf("%q", got)
	}
	err := fmt.Errorf("metrics: plan: estimate: plan labels: half width 0.001: want at least 0.004: %w", dg.ErrInvalid)
	if got := sentence(err, dg.ErrInvalid); got != "Half width 0.001: want at least 0.004." {
		t.Errorf("%q", got)
	}
}

func TestTheAccuracyAPIKeepsTheSlicesAskedFor(t *testing.T) {
	for by, want := range map[string][2]bool{"": {true, true}, "all": {true, true}, "class": {true, false}, "confidence": {false, true}, "none": {false, false}} {
		_, body := api(testServer(t, newFake()), "GET", "/accuracy?window=7d&by="+by, "")
		if got := [2]bool{strings.Contains(body, `"by":"class"`), strings.Contains(body, `"by":"confidence"`)}; got != want && by != "" {
			t.Errorf("by %s: class and confidence %v, want %v", by, got, want)
		}
	}
	if code, body := api(testServer(t, newFake()), "GET", "/accuracy?by=colour", ""); code != 422 || !strings.Contains(body, "colour") && !strings.Contains(body, "by") {
		t.Errorf("%d %s", code, body)
	}
}

func TestTheStatusHasDriftAndEvidenceButNoSlices(t *testing.T) {
	f := newFake()
	code, body := api(testServer(t, f), "GET", "/status", "")
	for _, want := range []string{`"features":{"score":0.19,"threshold":0.131`, `"evalue":1.84`, `"sequence":{"lower":0.861,"upper":0.913,"blocks":389}`, `"reference_needed":1000`} {
		if code != 200 || !strings.Contains(body, want) {
			t.Errorf("%d: no %s in %s", code, want, body)
		}
	}
	if strings.Contains(body, `"by":`) {
		t.Error("the status, which goes to every page each second, carries the slices")
	}
	f.noModels = true
	if _, body := api(testServer(t, f), "GET", "/status", ""); !strings.Contains(body, `"tests":{}`) {
		t.Errorf("without a champion: %s", body)
	}
}

func TestReplayAnswersConflictForADifference(t *testing.T) {
	f := newFake()
	f.err = fmt.Errorf("metrics: replay: window 24h to 2026-03-01T00:00:00Z: accuracy differs: %w", dg.ErrConflict)
	if code, body := api(testServer(t, f), "GET", "/accuracy/replay", ""); code != http.StatusConflict || !strings.Contains(body, "accuracy differs") {
		t.Errorf("%d %s", code, body)
	}
	f.err = errors.New("disk gone")
	if code, _ := api(testServer(t, f), "GET", "/plan", ""); code != http.StatusInternalServerError {
		t.Errorf("a broken ledger: %d", code)
	}
	f.err = fmt.Errorf("metrics: plan: no predictions: %w", dg.ErrTooFewSamples)
	if code, _ := api(testServer(t, f), "GET", "/plan", ""); code != http.StatusConflict {
		t.Errorf("nothing to plan with: %d", code)
	}
}
