// Package simulate answers "with my traffic and labels, when would I know?": it
// plays deployments whose accuracy drops, many times over, and watches each
// with driftgate's alarm and with what people use instead, on the very same
// labels.
//
// The alarm is that of package estimate, fed with slots as the gateway makes
// them: strata by reason and curate interval, a quota of random picks, a
// reference from the first labels. The others are idealised in their favour
// where a choice had to be made: they know the accuracy they compare with.
//
// The same Options always give the same Report, however many cores there are.
package simulate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	dg "driftgate"
)

// Options describe the deployment, the change and the alarm. Ratios run 0 to 1.
// Zero fields are taken as the default where one is named.
type Options struct {
	PredictionsPerDay int           `json:"predictions_per_day"`     // 5000
	DailySwing        float64       `json:"daily_swing"`             // share by which traffic rises and falls over each day
	Interval          time.Duration `json:"interval"`                // curate interval; 30m
	RandomPerInterval []int         `json:"random_per_interval"`     // random picks an interval, one Rate of the report each; 5
	LowConfidence     float64       `json:"low_confidence"`          // share of predictions with low confidence
	MaxLow            int           `json:"max_low_per_interval"`    // most low-confidence picks an interval, drawn at random; 0 is all
	Answered          float64       `json:"answered"`                // share of the picks that people answer; 1
	LabelDelay        time.Duration `json:"label_delay"`             // from the end of the curate interval to the answer
	Accuracy          float64       `json:"accuracy"`                // before the drop; .9
	LowAccuracy       float64       `json:"low_confidence_accuracy"` // of the low-confidence ones; default: four times the error of the others
	Drops             []float64     `json:"drops"`                   // each added to the error of every stratum; .03, .05, .1, .2
	QuietDays         int           `json:"quiet_days"`              // from the complete reference to the drop; 30
	Days              int           `json:"days"`                    // how long an alarm is waited for after the drop; 90
	Runs              int           `json:"runs"`                    // deployments a drop; 200
	Seed              uint64        `json:"seed"`                    //
	Years             float64       `json:"alarm_years"`             // threshold of the alarm; 10
	Tolerance         float64       `json:"alarm_tolerance"`         // on top of the reference's bound
	ReferenceLabels   int           `json:"alarm_reference_labels"`  // 300
	Slot              time.Duration `json:"alarm_slot"`              // a multiple of Interval; 6h
	LabelGrace        time.Duration `json:"alarm_label_grace"`       // how long a closed slot waits for its labels
	Margin            float64       `json:"threshold_margin"`        // points below the true accuracy at which the fixed-threshold alert fires; .05
	Workers           int           `json:"-"`                       // cores; all
}

func (o Options) withDefaults() Options {
	set(&o.PredictionsPerDay, 5000)
	set(&o.Interval, 30*time.Minute)
	set(&o.Answered, 1)
	set(&o.Accuracy, .9)
	set(&o.QuietDays, 30)
	set(&o.Days, 90)
	set(&o.Runs, 200)
	set(&o.Years, 10)
	set(&o.ReferenceLabels, 300)
	set(&o.Slot, 6*time.Hour)
	set(&o.Margin, .05)
	set(&o.Workers, runtime.GOMAXPROCS(0))
	if len(o.RandomPerInterval) == 0 {
		o.RandomPerInterval = []int{5}
	}
	if len(o.Drops) == 0 {
		o.Drops = []float64{.03, .05, .1, .2}
	}
	return o
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// maxLabels bounds one run, so that a wrong number doesn't occupy the machine
// for days.
const maxLabels = 20_000_000

// Validate reports every fault at once; the error is [dg.ErrInvalid].
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format+": %w", append(args, dg.ErrInvalid)...))
		}
	}
	ratio := func(x float64) bool { return x >= 0 && x <= 1 } // also refuses NaN
	want(o.PredictionsPerDay >= 1 && o.PredictionsPerDay <= 1e9, "predictions per day %d: want 1 to 1,000,000,000", o.PredictionsPerDay)
	want(ratio(o.DailySwing), "daily swing %g: want a share from 0 to 1", o.DailySwing)
	want(o.Interval >= time.Minute && o.Interval <= 24*time.Hour, "interval %s: want 1m to 24h", o.Interval)
	want(ratio(o.LowConfidence), "low confidence %g: want a share from 0 to 1", o.LowConfidence)
	want(o.MaxLow >= 0, "max low %d: want 0 (all) or more", o.MaxLow)
	want(o.Answered > 0 && o.Answered <= 1, "answered %g: want a share over 0, at most 1", o.Answered)
	want(o.Accuracy > 0 && o.Accuracy < 1, "accuracy %g: want between 0 and 1, not a percentage", o.Accuracy)
	want(ratio(o.LowAccuracy), "accuracy of low confidence %g: want 0 to 1", o.LowAccuracy)
	for _, n := range o.RandomPerInterval {
		want(n >= 1, "random per interval %d: want at least 1", n)
	}
	for _, d := range o.Drops {
		want(d > 0 && d <= o.Accuracy, "drop %g: want over 0, at most the accuracy of %g", d, o.Accuracy)
	}
	want(o.QuietDays >= 1 && o.QuietDays <= 3660, "quiet days %d: want 1 to 3660", o.QuietDays)
	want(o.Days >= 1 && o.Days <= 3660, "days %d: want 1 to 3660", o.Days)
	want(o.Runs >= 1 && o.Runs <= 1_000_000, "runs %d: want 1 to 1,000,000", o.Runs)
	want(o.Years > 0 && !math.IsInf(o.Years, 1), "alarm years %g: want over 0", o.Years)
	want(o.Tolerance >= 0 && o.Tolerance < 1, "alarm tolerance %g: want 0 up to 1, not a percentage", o.Tolerance)
	want(o.ReferenceLabels >= 1, "reference labels %d: want at least 1", o.ReferenceLabels)
	want(o.Interval > 0 && o.Slot >= o.Interval && o.Slot%max(1, o.Interval) == 0, "slot %s: want a multiple of the interval of %s", o.Slot, o.Interval)
	want(o.LabelDelay >= 0, "label delay %s: want 0s or more", o.LabelDelay)
	want(o.LabelGrace >= o.LabelDelay, "label grace %s: want at least the label delay of %s, for a pick without its label counts as correct", o.LabelGrace, o.LabelDelay)
	want(o.Margin > 0 && o.Margin < 1, "threshold margin %g: want between 0 and 1", o.Margin)
	want(o.Workers >= 1, "workers %d: want at least 1", o.Workers)
	if len(errs) == 0 {
		errs = append(errs, o.fits()...)
	}
	return errors.Join(errs...)
}

// fits checks what is only wrong together.
func (o Options) fits() (errs []error) {
	if _, _, err := o.errorRates(0); err != nil {
		errs = append(errs, err)
	}
	if o.Tolerance >= o.Accuracy {
		errs = append(errs, fmt.Errorf("alarm tolerance %g: want less than the accuracy of %g: %w", o.Tolerance, o.Accuracy, dg.ErrInvalid))
	}
	for _, random := range o.RandomPerInterval {
		perDay := o.labelsPerDay(random)
		days := float64(o.QuietDays+o.Days) + float64(o.ReferenceLabels)/perDay
		if days > 36600 {
			errs = append(errs, fmt.Errorf("%.3g labels a day: the reference of %d labels takes %.0f days, want less than a hundred years: %w", perDay, o.ReferenceLabels, days, dg.ErrInvalid))
		} else if perDay*days > maxLabels {
			errs = append(errs, fmt.Errorf("%.0f labels a day for %.0f days: want at most %d labels a run (fewer days, or a cap on low-confidence picks): %w", perDay, days, maxLabels, dg.ErrInvalid))
		}
	}
	return errs
}

// intervalsPerDay is not always whole.
func (o Options) intervalsPerDay() float64 { return float64(24*time.Hour) / float64(o.Interval) }

// picksPerInterval is how many picks of each stratum to expect.
func (o Options) picksPerInterval(random int) (low, rest float64) {
	n := float64(o.PredictionsPerDay) / o.intervalsPerDay()
	low, rest = n*o.LowConfidence, min(float64(random), n*(1-o.LowConfidence))
	if o.MaxLow > 0 {
		low = min(low, float64(o.MaxLow))
	}
	return low, rest
}

func (o Options) labelsPerDay(random int) float64 {
	low, rest := o.picksPerInterval(random)
	return (low + rest) * o.Answered * o.intervalsPerDay()
}

// errorRates are the chances of an error in the low-confidence stratum and in
// the rest, after a drop that adds the same to both. What one of them can't
// take, because it is wrong already, the other takes.
func (o Options) errorRates(drop float64) (low, rest float64, err error) {
	total, share := 1-o.Accuracy, o.LowConfidence
	switch {
	case share == 0:
		return 0, total + drop, nil
	case share == 1:
		return total + drop, 0, nil
	case o.LowAccuracy > 0:
		low = 1 - o.LowAccuracy
	default:
		low = min(.8, 4*total/(1+3*share))
	}
	rest = (total - share*low) / (1 - share)
	if !(rest >= 0 && rest <= 1) {
		return 0, 0, fmt.Errorf("accuracy %g with %g of the predictions of low confidence and %.3g of those right: the others would be right in %.3g of the cases, want 0 to 1: %w", o.Accuracy, share, 1-low, 1-rest, dg.ErrInvalid)
	}
	low = min(1, low+drop)
	if rest = (total + drop - share*low) / (1 - share); rest > 1 {
		low, rest = (total+drop-(1-share))/share, 1
	}
	return low, rest, nil
}

// MarshalJSON writes durations as text, as in 30m0s.
func (o Options) MarshalJSON() ([]byte, error) {
	type plain Options
	return json.Marshal(struct {
		plain
		Interval   string `json:"interval"`
		LabelDelay string `json:"label_delay"`
		Slot       string `json:"alarm_slot"`
		LabelGrace string `json:"alarm_label_grace"`
	}{plain(o), o.Interval.String(), o.LabelDelay.String(), o.Slot.String(), o.LabelGrace.String()})
}

// Report is what came of it.
type Report struct {
	Options Options `json:"options"` // with the defaults
	Rates   []Rate  `json:"rates"`   // one for each of RandomPerInterval
}

// Rate is the result at one rate of labels.
type Rate struct {
	RandomPerInterval int      `json:"random_per_interval"`
	LabelsPerDay      float64  `json:"labels_per_day"` // expected, all strata
	Detectors         []Result `json:"detectors"`      // in the order of [Detectors]
}

// Result is one detector's.
type Result struct {
	Detector           string   `json:"detector"`
	FalseAlarms        int      `json:"false_alarms"`      // without a drop, over FalseAlarmYears
	FalseAlarmYears    float64  `json:"false_alarm_years"` // simulated
	FalseAlarmsPerYear float64  `json:"false_alarms_per_year"`
	Fooled             *float64 `json:"fooled_by_quota,omitempty"` // share of the runs with an alarm within Days of halving the quota of random picks, the accuracy unchanged; absent where it is 1
	Drops              []Delay  `json:"drops"`                     // in the order of Options.Drops
}

// Delay is how soon a drop was noticed. For a detector with many false alarms
// it says little: one of those comes soon after any drop.
type Delay struct {
	Drop     float64  `json:"drop"`
	Detected float64  `json:"detected"`              // share of the runs with an alarm within Days
	Median   *float64 `json:"median_days,omitempty"` // from the drop to the alarm; absent when fewer than half noticed it in time
	P90      *float64 `json:"p90_days,omitempty"`    // absent when fewer than nine tenths did
}

// Run plays Options.Runs deployments for each rate and drop, and as many
// without a drop and with another quota. progress, if not nil, is called now and then with how many of
// all runs are done, from one goroutine at a time. The error is [dg.ErrInvalid]
// for bad options, or ctx's.
func Run(ctx context.Context, o Options, progress func(done, total int)) (Report, error) {
	if err := o.Validate(); err != nil {
		return Report{}, fmt.Errorf("simulate: %w", err)
	}
	o = o.withDefaults()
	scenes := []scene{{}, {halved: true}}
	for _, d := range o.Drops {
		scenes = append(scenes, scene{drop: d})
	}
	total := len(o.RandomPerInterval) * len(scenes) * o.Runs
	outcomes := make([]outcome, total)
	if err := each(ctx, total, o.Workers, progress, func(i int) {
		rate, at, run := i/(len(scenes)*o.Runs), i/o.Runs%len(scenes), i%o.Runs
		outcomes[i] = play(o, o.RandomPerInterval[rate], scenes[at], source(o.Seed, rate, at, run))
	}); err != nil {
		return Report{}, fmt.Errorf("simulate: %w", err)
	}
	report := Report{Options: o}
	for r, random := range o.RandomPerInterval {
		rate := Rate{RandomPerInterval: random, LabelsPerDay: o.labelsPerDay(random)}
		first := r * len(scenes) * o.Runs
		for d, name := range Detectors {
			rate.Detectors = append(rate.Detectors, o.sum(name, d, random > 1, outcomes[first:first+len(scenes)*o.Runs]))
		}
		report.Rates = append(report.Rates, rate)
	}
	return report, nil
}

// sum is detector d's result from the outcomes of one rate, in the order of the
// scenes.
func (o Options) sum(name string, d int, halved bool, outcomes []outcome) Result {
	r := Result{Detector: name, FalseAlarmYears: float64(o.Runs*o.Days) / 365.25}
	for _, out := range outcomes[:o.Runs] {
		r.FalseAlarms += out.alarms[d]
	}
	r.FalseAlarmsPerYear = float64(r.FalseAlarms) / r.FalseAlarmYears
	if halved {
		fooled := delays(0, d, outcomes[o.Runs:2*o.Runs]).Detected
		r.Fooled = &fooled
	}
	for i, drop := range o.Drops {
		r.Drops = append(r.Drops, delays(drop, d, outcomes[(2+i)*o.Runs:(3+i)*o.Runs]))
	}
	return r
}

// delays sums up one detector's runs at one drop.
func delays(drop float64, detector int, runs []outcome) Delay {
	days := make([]float64, len(runs))
	noticed := 0
	for i, out := range runs {
		days[i] = out.delay[detector]
		if !math.IsInf(days[i], 1) {
			noticed++
		}
	}
	slices.Sort(days)
	quantile := func(q float64) *float64 {
		x := days[int(math.Ceil(q*float64(len(days))))-1]
		if math.IsInf(x, 1) {
			return nil
		}
		return &x
	}
	return Delay{Drop: drop, Detected: float64(noticed) / float64(len(runs)), Median: quantile(.5), P90: quantile(.9)}
}

// each runs f for 0 to total-1 on workers goroutines and waits for them.
func each(ctx context.Context, total, workers int, progress func(done, total int), f func(i int)) error {
	var mu sync.Mutex
	next, done := 0, 0
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next == total || ctx.Err() != nil {
			return 0, false
		}
		next++
		return next - 1, true
	}
	finish := func() {
		mu.Lock()
		defer mu.Unlock()
		if done++; progress != nil {
			progress(done, total)
		}
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				i, ok := take()
				if !ok {
					return
				}
				f(i)
				finish()
			}
		})
	}
	wg.Wait()
	if done < total {
		return ctx.Err()
	}
	return nil
}
