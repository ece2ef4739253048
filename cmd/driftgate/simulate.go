package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"driftgate/internal/simulate"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

func newSimulate(g *global) *cobra.Command {
	var o simulate.Options
	c := &cobra.Command{
		Use:   "simulate",
		Short: "with my traffic and labels, when would I know that the accuracy dropped?",
		Long: `Plays deployments with your traffic, labels and alarm settings, lets their
accuracy drop, and says how soon it is noticed and how often there is a false
alarm: by driftgate's alarm, and on the same labels by what people use instead.
It needs no gateway. Curate and alarm settings are those of the configuration
unless a flag says otherwise; the same flags always give the same answer.

  alarm        driftgate's: its reference is the champion's first labels
  alarm_known  the same, if the error at its best were known exactly
  threshold    weighted accuracy of the last 24h more than --margin too low
  wilson       95% interval of the last 24h's labels below the usual share
  adwin        ADWIN (Bifet and Gavalda 2007) on the labels as they come
  ddm          DDM (Gama and others 2004) on the labels as they come

threshold and wilson are told the true accuracy before the drop. "Other quota":
the quota of random picks is halved and the accuracy stays; whoever looks at the
plain share of right labels sees a drop that is none.`,
		Example: `  driftgate simulate --predictions-per-day 5000 --random-per-interval 5
  driftgate simulate --random-per-interval 1,5,20 --drop .03,.05,.1,.2 --days 90
  driftgate simulate --set alarm.reference_labels=2000 --set alarm.label_grace=2h --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := g.simulated(cmd, &o); err != nil {
				return err
			}
			report, err := simulate.Run(cmd.Context(), o, progress(cmd.Context(), isatty.IsTerminal(os.Stderr.Fd()), cmd.ErrOrStderr()))
			if err != nil {
				return err
			}
			return g.show(cmd, report, func(w io.Writer) { printSimulation(w, report) })
		},
	}
	f := c.Flags()
	f.IntVar(&o.PredictionsPerDay, "predictions-per-day", 5000, "traffic")
	f.Float64Var(&o.DailySwing, "daily-swing", .5, "share by which traffic rises and falls over each day")
	f.DurationVar(&o.Interval, "interval", 30*time.Minute, "length of a curate interval (default curate.every)")
	f.IntSliceVar(&o.RandomPerInterval, "random-per-interval", []int{5}, "random picks an interval; several give a table each (default curate.random)")
	f.Float64Var(&o.LowConfidence, "low-confidence", .1, "share of predictions with low confidence, which are all labelled but for curate.max_low")
	f.Float64Var(&o.Answered, "answered", 1, "share of the picks that people answer")
	f.DurationVar(&o.LabelDelay, "label-delay", time.Hour, "from the end of the interval to the answer")
	f.Float64Var(&o.Accuracy, "accuracy", .9, "accuracy before the drop")
	f.Float64Var(&o.LowAccuracy, "low-confidence-accuracy", 0, "that of low-confidence predictions (default: four times the error of the others)")
	f.Float64SliceVar(&o.Drops, "drop", []float64{.03, .05, .1, .2}, "drops of the accuracy, as ratios: 0.05 is five points")
	f.IntVar(&o.QuietDays, "quiet-days", 30, "days between the reference and the drop")
	f.IntVar(&o.Days, "days", 90, "days that an alarm is waited for")
	f.IntVar(&o.Runs, "runs", 200, "deployments played for each drop")
	f.Uint64Var(&o.Seed, "seed", 1, "of the randomness")
	f.Float64Var(&o.Margin, "margin", .05, "of the threshold alert, as a ratio")
	return c
}

// simulated takes from the configuration what no flag says.
func (g *global) simulated(cmd *cobra.Command, o *simulate.Options) error {
	conf, _, err := g.load(nil)
	if err != nil {
		return err
	}
	// In Options a zero is the default; on the command line it is a mistake.
	for _, name := range []string{"predictions-per-day", "accuracy", "days", "quiet-days", "runs", "answered", "margin", "interval"} {
		if f := cmd.Flags().Lookup(name); f.Value.String() == "0" || f.Value.String() == "0s" {
			return usageError{fmt.Errorf("--%s 0: want more than 0", name)}
		}
	}
	if !cmd.Flags().Changed("interval") {
		o.Interval = conf.Curate.Every
	}
	if !cmd.Flags().Changed("random-per-interval") {
		o.RandomPerInterval = []int{conf.Curate.Random}
	}
	o.MaxLow = conf.Curate.MaxLow
	o.Years, o.Tolerance, o.ReferenceLabels = conf.Alarm.Years, conf.Alarm.Tolerance, conf.Alarm.ReferenceLabels
	o.Slot, o.LabelGrace = conf.Alarm.Slot, conf.Alarm.LabelGrace
	return nil
}

// progress says on a terminal how far the runs are, ten times a second.
func progress(ctx context.Context, live bool, w io.Writer) func(done, total int) {
	if !live {
		return nil
	}
	var last time.Time
	return func(done, total int) {
		switch now := time.Now(); {
		case done == total || ctx.Err() != nil:
			fmt.Fprint(w, "\r\x1b[K")
		case now.Sub(last) > 100*time.Millisecond:
			last = now
			fmt.Fprintf(w, "\rsimulating: %d of %d runs\x1b[K", done, total)
		}
	}
}

func printSimulation(w io.Writer, r simulate.Report) {
	o := r.Options
	fmt.Fprintf(w, "%d deployments each, accuracy %.4g%%, %d predictions a day; alarm at %.3g years, tolerance %.3g points, reference of %d labels\n",
		o.Runs, 100*o.Accuracy, o.PredictionsPerDay, o.Years, 100*o.Tolerance, o.ReferenceLabels)
	fmt.Fprintf(w, "a drop: median, ninth tenth of the time until it is known, and the share that noticed it within %d days\n", o.Days)
	for _, rate := range r.Rates {
		fmt.Fprintf(w, "\n%d random picks an interval of %s, %.0f labels a day in all\n", rate.RandomPerInterval, brief(o.Interval), rate.LabelsPerDay)
		t := tabwriter.NewWriter(w, 0, 4, 3, ' ', 0)
		fmt.Fprint(t, "\tfalse alarms a year\tother quota")
		for _, d := range o.Drops {
			fmt.Fprintf(t, "\tdrop of %.3g points", 100*d)
		}
		fmt.Fprintln(t)
		for _, d := range rate.Detectors {
			fmt.Fprintf(t, "%s\t%.2f\t%s", d.Detector, d.FalseAlarmsPerYear, fooled(d))
			for _, x := range d.Drops {
				fmt.Fprintf(t, "\t%s, %s, %.0f%%", days(x.Median, o.Days), days(x.P90, o.Days), 100*x.Detected)
			}
			fmt.Fprintln(t)
		}
		t.Flush()
	}
}

func fooled(r simulate.Result) string {
	if r.Fooled == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f%% fooled", 100**r.Fooled)
}

// days renders a delay; one that was not reached is longer than the horizon.
func days(x *float64, horizon int) string {
	switch {
	case x == nil:
		return fmt.Sprintf("over %dd", horizon)
	case *x < 2:
		return fmt.Sprintf("%.0fh", 24**x)
	}
	return fmt.Sprintf("%.1fd", *x)
}

// brief is a duration without empty parts: 30m, not 30m0s.
func brief(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}
