package simulate

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	dg "driftgate"
)

// long asks for the full simulations: DRIFTGATE_LONG=1.
var long = os.Getenv("DRIFTGATE_LONG") != ""

// usual is a deployment with the gateway's default settings.
func usual() Options {
	return Options{LowConfidence: .1, DailySwing: .5, Tolerance: .02, LabelDelay: time.Hour, LabelGrace: 24 * time.Hour, Seed: 1}
}

func TestOptionsReportEveryFault(t *testing.T) {
	if err := usual().Validate(); err != nil {
		t.Fatalf("the usual deployment: %v", err)
	}
	for name, tt := range map[string]struct {
		change func(*Options)
		says   []string
	}{
		"three at once":                      {func(o *Options) { o.Accuracy, o.Answered, o.Runs = 90, 2, -1 }, []string{"accuracy 90", "answered 2", "runs -1"}},
		"NaN":                                {func(o *Options) { o.LowConfidence, o.Drops = math.NaN(), []float64{math.NaN()} }, []string{"low confidence NaN", "drop NaN"}},
		"a drop of percent":                  {func(o *Options) { o.Drops = []float64{5} }, []string{"drop 5"}},
		"a slot of no whole intervals":       {func(o *Options) { o.Slot = 100 * time.Minute }, []string{"multiple of the interval of 30m"}},
		"labels that come after the grace":   {func(o *Options) { o.LabelDelay = 48 * time.Hour }, []string{"label grace 24h0m0s: want at least the label delay"}},
		"strata that can't make the whole":   {func(o *Options) { o.LowConfidence, o.LowAccuracy = .5, .1 }, []string{"the others would be right in 1.7"}},
		"a reference that takes a lifetime":  {func(o *Options) { o.PredictionsPerDay, o.ReferenceLabels, o.LowConfidence = 1, 1e6, 0 }, []string{"want less than a hundred years"}},
		"labels nobody gives":                {func(o *Options) { o.PredictionsPerDay = 1e9 }, []string{"labels a run"}},
		"a tolerance that allows everything": {func(o *Options) { o.Tolerance = .95 }, []string{"want less than the accuracy"}},
	} {
		o := usual()
		tt.change(&o)
		err := o.Validate()
		if !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
			continue
		}
		for _, want := range tt.says {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: no %q in: %v", name, want, err)
			}
		}
		if _, err := Run(context.Background(), o, nil); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: runs: %v", name, err)
		}
	}
}

func TestErrorRatesAddUp(t *testing.T) {
	for _, o := range []Options{
		{Accuracy: .9}, {Accuracy: .9, LowConfidence: .1}, {Accuracy: .9, LowConfidence: 1}, {Accuracy: .5, LowConfidence: .3},
		{Accuracy: .9, LowConfidence: .1, LowAccuracy: .4}, {Accuracy: .6, LowConfidence: .4, LowAccuracy: .05},
	} {
		for _, drop := range []float64{0, .03, .2, .5, o.Accuracy} {
			low, rest, err := o.errorRates(drop)
			total := o.LowConfidence*low + (1-o.LowConfidence)*rest
			if err != nil || math.Abs(total-(1-o.Accuracy+drop)) > 1e-12 || low < 0 || low > 1+1e-12 || rest < 0 || rest > 1+1e-12 {
				t.Errorf("%+v, drop %g: errors %g and %g make %g (%v)", o, drop, low, rest, total, err)
			}
		}
	}
}

// small keeps tests short and still has every detector at work.
func small() Options {
	o := usual()
	o.Runs, o.Days, o.QuietDays, o.Drops, o.RandomPerInterval = 6, 12, 5, []float64{.1, .3}, []int{1, 5}
	return o
}

func TestTheSameSeedGivesTheSameReport(t *testing.T) {
	run := func(workers int, seed uint64) Report {
		o := small()
		o.Workers, o.Seed = workers, seed
		calls := 0
		r, err := Run(context.Background(), o, func(done, total int) {
			if calls++; done != calls || total != 6*4*2 {
				t.Errorf("progress %d of %d at call %d", done, total, calls)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Options.Workers = 0
		return r
	}
	one := run(1, 7)
	if many := run(3, 7); !reflect.DeepEqual(one, many) {
		t.Errorf("one worker %+v, three %+v", one, many)
	}
	other := run(2, 8)
	other.Options.Seed = 7
	if reflect.DeepEqual(one, other) {
		t.Error("two seeds give one report")
	}
	text, err := json.Marshal(one)
	if err != nil || !strings.Contains(string(text), `"alarm_slot":"6h0m0s"`) || strings.Contains(string(text), "NaN") {
		t.Errorf("%s, %v", text, err)
	}
}

func TestCancelling(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	o := small()
	_, err := Run(ctx, o, func(done, _ int) {
		if done == 3 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestDelays(t *testing.T) {
	inf := math.Inf(1)
	runs := func(days ...float64) []outcome {
		out := make([]outcome, len(days))
		for i, d := range days {
			out[i].delay = []float64{d}
		}
		return out
	}
	d := delays(.05, 0, runs(5, inf, 1, 2, inf, 4, 3, 6, 7, 8))
	if d.Detected != .8 || d.Median == nil || *d.Median != 5 || d.P90 != nil {
		t.Errorf("%+v", d)
	}
	if d := delays(.05, 0, runs(inf, inf, 3)); d.Median != nil || d.P90 != nil {
		t.Errorf("a median of mostly unnoticed drops: %+v", d)
	}
	if d := delays(.05, 0, runs(3, 1)); *d.Median != 1 || *d.P90 != 3 || d.Detected != 1 {
		t.Errorf("%+v", d)
	}
}

// TestFalseAlarmsKeepTheirPromise counts alarms in deployments whose error is
// exactly p0, the worst that is still fine: at most one in Years on average. It
// begins anew after each alarm, so the promise is on the rate.
func TestFalseAlarmsKeepTheirPromise(t *testing.T) {
	o := usual()
	o.Tolerance, o.Years, o.Runs, o.Days, o.QuietDays, o.Drops = 0, .5, 40, 120, 1, []float64{.3}
	if long {
		o.Runs = 600
	}
	r, err := Run(context.Background(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	known := r.Rates[0].Detectors[1]
	if known.Detector != AlarmKnown {
		t.Fatalf("%s stands second", known.Detector)
	}
	most := known.FalseAlarmYears / o.Years
	t.Logf("%d false alarms in %.0f years at a threshold of %g years, promised at most %.0f", known.FalseAlarms, known.FalseAlarmYears, o.Years, most)
	if float64(known.FalseAlarms) > most+3*math.Sqrt(most) || known.FalseAlarms == 0 {
		t.Errorf("%d false alarms: want some, and at most %.0f", known.FalseAlarms, most)
	}
}

// TestWhoNoticesWhat states what docs say about the detectors on one usual
// deployment.
func TestWhoNoticesWhat(t *testing.T) {
	o := usual()
	o.Runs, o.Drops = 16, []float64{.05, .1, .2}
	o.ReferenceLabels = 2000
	if long {
		o.Runs = 200
	}
	r, err := Run(context.Background(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]Result{}
	for _, d := range r.Rates[0].Detectors {
		by[d.Detector] = d
		t.Logf("%-12s %6.2f false alarms a year, fooled %.2f", d.Detector, d.FalseAlarmsPerYear, *d.Fooled)
		for _, x := range d.Drops {
			if x.Median != nil {
				t.Logf("    drop %.2f: noticed %.2f, median %.1f days", x.Drop, x.Detected, *x.Median)
			}
		}
	}
	for _, name := range []string{Alarm, AlarmKnown} {
		d := by[name]
		if d.FalseAlarms != 0 || *d.Fooled > .05 {
			t.Errorf("%s: %d false alarms in %.0f years, fooled by a quota in %.2f of the runs", name, d.FalseAlarms, d.FalseAlarmYears, *d.Fooled)
		}
		for i, x := range d.Drops[1:] {
			if x.Detected < .95 || x.Median == nil || (d.Drops[i].Median != nil && *x.Median >= *d.Drops[i].Median) {
				t.Errorf("%s: %+v after %+v: want every drop of 10 points noticed, larger ones sooner", name, x, d.Drops[i])
			}
		}
	}
	if d := by[Wilson]; d.FalseAlarmsPerYear < 10 {
		t.Errorf("wilson: %g false alarms a year, known to be dozens", d.FalseAlarmsPerYear)
	}
	if d := by[Threshold]; d.FalseAlarmsPerYear < 1 {
		t.Errorf("threshold: %g false alarms a year, known to be several", d.FalseAlarmsPerYear)
	}
	if d := by[ADWIN]; *d.Fooled < .9 || d.FalseAlarmsPerYear > 2 {
		t.Errorf("adwin: fooled by a quota in %.2f of the runs, known to be all; %g false alarms a year, known to be few", *d.Fooled, d.FalseAlarmsPerYear)
	}
	if a, b := by[ADWIN].Drops[0].Median, by[AlarmKnown].Drops[0].Median; a == nil || b == nil || *a >= *b {
		t.Errorf("a drop of 5 points: adwin after %v days, the alarm after %v: adwin is known to be sooner", a, b)
	}
}
