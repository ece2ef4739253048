package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"driftgate"
	"driftgate/internal/app"
	"driftgate/metrics"

	"github.com/spf13/cobra"
)

// accuracyFlags are what the command is asked for.
type accuracyFlags struct {
	window, at, version, by string
	replay                  bool
	since                   string
}

func newAccuracy(g *global) *cobra.Command {
	var f accuracyFlags
	c := &cobra.Command{
		Use:   "accuracy",
		Short: "production accuracy of a window by every estimator, with bounds, counts and slices",
		Long: `Prints how often the model was right on what users sent, by human labels: one
figure for each estimator with its 95% bounds, the counts behind it and, with
--by, the same for each predicted class or band of confidence.

With --replay it takes no new figure: it recomputes every window that was
published and every slot that the alarm decided, from the inputs stored with
them, and fails at the first that does not come out the same to the last digit.`,
		Example: `  driftgate accuracy --window 24h
  driftgate accuracy --window 7d --by class
  driftgate accuracy --window 7d --at 2026-11-22T00:00:00Z --format json
  driftgate accuracy --replay --since 30d`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			return g.with(cmd, func(c *app.Client) error {
				if f.replay {
					return g.replay(cmd, c, f)
				}
				q := url.Values{"window": {f.window}, "version": {f.version}, "by": {f.by}}
				if f.at != "" {
					q.Set("at", f.at)
				}
				var a driftgate.Accuracy
				if err := c.Get(cmd.Context(), "/api/v1/accuracy?"+q.Encode(), &a); err != nil {
					return err
				}
				return g.show(cmd, a, func(w io.Writer) { printAccuracy(w, a) })
			})
		},
	}
	c.Flags().StringVar(&f.window, "window", "24h", "length of the window: 30m, 24h, 7d")
	c.Flags().StringVar(&f.version, "version", "champion", "champion, all (also what other programs wrote), or a version")
	c.Flags().StringVar(&f.at, "at", "", "end of the window, RFC 3339 (default now)")
	c.Flags().StringVar(&f.by, "by", "none", "slices too: class, confidence, all or none")
	c.Flags().BoolVar(&f.replay, "replay", false, "recompute what was published and decided from its stored inputs")
	c.Flags().StringVar(&f.since, "since", "", "with --replay: only the last span, as 30d (default all that is kept)")
	return c
}

// check refuses flags that contradict each other before anything is started.
func (f accuracyFlags) check(cmd *cobra.Command) error {
	switch f.by {
	case "class", "confidence", "all", "none":
	default:
		return usageError{fmt.Errorf("--by %q: want class, confidence, all or none", f.by)}
	}
	if f.since != "" && !f.replay {
		return usageError{errors.New("--since goes with --replay")}
	}
	if f.replay {
		for _, name := range []string{"window", "at", "version", "by"} {
			if cmd.Flags().Changed(name) {
				return usageError{fmt.Errorf("--%s does not go with --replay, which recomputes every window that was published", name)}
			}
		}
	}
	return nil
}

// replay asks the gateway to recompute the past. A difference is a failure, not
// a refusal.
func (g *global) replay(cmd *cobra.Command, c *app.Client, f accuracyFlags) error {
	q := url.Values{}
	if f.since != "" {
		span, err := metrics.ParseWindow(f.since)
		if err != nil {
			return fmt.Errorf("--since: %w", err)
		}
		var status struct {
			Now time.Time `json:"now"`
		}
		// The gateway's clock counts: a demo's runs faster than ours.
		if err := c.Get(cmd.Context(), "/api/v1/status", &status); err != nil {
			return err
		}
		q.Set("start", status.Now.Add(-span).UTC().Format(time.RFC3339))
	}
	var r metrics.ReplayReport
	if err := c.Get(cmd.Context(), "/api/v1/accuracy/replay?"+q.Encode(), &r); err != nil {
		if errors.Is(err, driftgate.ErrConflict) {
			return errors.New(err.Error())
		}
		return err
	}
	return g.show(cmd, r, func(w io.Writer) { printReplay(w, r) })
}

func printReplay(w io.Writer, r metrics.ReplayReport) {
	if r.Windows+r.Slots == 0 {
		fmt.Fprintln(w, "nothing was published or decided in that time")
		return
	}
	fmt.Fprintf(w, "the same to the last digit: %d published windows, %d slots of the alarm, %s to %s\n", r.Windows, r.Slots,
		r.From.UTC().Format("2006-01-02 15:04"), r.To.UTC().Format("2006-01-02 15:04 MST"))
}

func printAccuracy(w io.Writer, a driftgate.Accuracy) {
	fmt.Fprintf(w, "%s to %s: %d predictions, %d picked, %d labelled", a.Start.Format("2006-01-02 15:04"), a.End.Format("2006-01-02 15:04 MST"), a.Predictions, a.Selected, a.Labels)
	if !a.NewestLabelAt.IsZero() {
		fmt.Fprintf(w, ", newest label %s", a.NewestLabelAt.UTC().Format("2006-01-02 15:04"))
	}
	fmt.Fprintln(w)
	if e, ok := a.Estimate("stratified"); ok {
		fmt.Fprintf(w, "accuracy %s, with 95%% certainty %s to %s\n", ratio(e.Accuracy), ratio(e.Lower), ratio(e.Upper))
	} else {
		fmt.Fprintln(w, "too few labels for a figure")
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	if len(a.Estimates) > 0 {
		fmt.Fprintln(t, "\nestimator\taccuracy\tlower\tupper\tlabels\tworth\t")
	}
	for _, e := range a.Estimates {
		fmt.Fprintf(t, "%s\t%.3f\t%.3f\t%.3f\t%d\t%.0f\t%s\n", e.Estimator, e.Accuracy, e.Lower, e.Upper, e.Labels, finite(e.EffectiveLabels), remarks(e))
	}
	fmt.Fprintln(t, "\nstratum\tpredictions\tlabels\tcorrect\t")
	for _, s := range a.Strata {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t\n", s.Stratum, s.Predictions, s.Labels, s.Correct)
	}
	printSlices(t, a.Slices)
	t.Flush()
	if a.Gap != nil {
		fmt.Fprintf(w, "\n%s\n", gapSentence(*a.Gap))
	}
	if a.Note != "" {
		fmt.Fprintf(w, "\n%s\n", a.Note)
	}
}

// printSlices writes a table for each kind of slice.
func printSlices(w io.Writer, slices []driftgate.Slice) {
	by := ""
	for _, s := range slices {
		if s.By != by {
			by = s.By
			fmt.Fprintf(w, "\n%s\tpredictions\tlabels\taccuracy\tlower\tupper\texpected\n", by)
		}
		figure, expected := "too few labels\t\t", ""
		for _, e := range s.Estimates {
			switch e.Estimator {
			case "stratified":
				figure = fmt.Sprintf("%.3f\t%.3f\t%.3f", e.Accuracy, e.Lower, e.Upper)
			case "expected":
				expected = fmt.Sprintf("%.3f", e.Accuracy)
			}
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", s.Value, s.Predictions, s.Labels, figure, expected)
	}
}

func remarks(e driftgate.Estimate) string {
	var out []string
	if e.Partial {
		out = append(out, "partial: a stratum has no label yet")
	}
	if e.BoundsOf != "" {
		out = append(out, "bounds of "+e.BoundsOf)
	}
	return strings.Join(out, "; ")
}

func gapSentence(g driftgate.Gap) string {
	change := fmt.Sprintf("%+.1f points, with 95%% certainty %+.1f to %+.1f", 100*g.Difference, 100*g.Lower, 100*g.Upper)
	switch {
	case g.Significant && g.Difference < 0:
		return "the model is worse than its confidence says: measured against expected " + change
	case g.Significant:
		return "the model is better than its confidence says: measured against expected " + change
	}
	return "labels and the model's confidence agree: measured against expected " + change
}

// ratio renders 0 to 1 in percent.
func ratio(v float64) string { return fmt.Sprintf("%.1f%%", 100*v) }

// finite makes a missing figure 0.
func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
