package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"

	"driftgate/internal/app"
	"driftgate/internal/estimate"

	"github.com/spf13/cobra"
)

func newPlan(g *global) *cobra.Command {
	var window string
	var halfWidth float64
	c := &cobra.Command{
		Use:   "plan",
		Short: "how many random labels a day a wanted precision takes",
		Long: `Says how many random predictions a day must be labelled so that the accuracy of
a window is known to within --half-width, with the traffic and the accuracy of
each stratum as they are in that window now. A wish that no number of labels
fulfils is refused with the best that can be had.`,
		Example: `  driftgate plan --half-width 0.02 --window 24h      # to ±2 points, over a day
  driftgate plan --half-width 0.05 --window 1h --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !(halfWidth > 0 && halfWidth < 1) {
				return usageError{fmt.Errorf("--half-width %g: want a ratio between 0 and 1, as 0.02 for ±2 points", halfWidth)}
			}
			return g.with(cmd, func(c *app.Client) error {
				q := url.Values{"window": {window}, "half_width": {strconv.FormatFloat(halfWidth, 'g', -1, 64)}}
				var p estimate.Plan
				if err := c.Get(cmd.Context(), "/api/v1/plan?"+q.Encode(), &p); err != nil {
					return err
				}
				return g.show(cmd, p, func(w io.Writer) { printPlan(w, p, window) })
			})
		},
	}
	c.Flags().Float64Var(&halfWidth, "half-width", 0.02, "wanted distance of the 95% bounds from the figure, as a ratio: 0.02 is ±2 points")
	c.Flags().StringVar(&window, "window", "24h", "span whose accuracy is wanted: 1h, 24h, 7d")
	return c
}

func printPlan(w io.Writer, p estimate.Plan, window string) {
	if p.RandomLabels > 0 {
		fmt.Fprintf(w, "label %.1f random predictions a day (%d in %s), and the accuracy of %s is known to within %.1f points\n", p.PerDay, p.RandomLabels, window, window, 100*p.HalfWidth)
	} else {
		fmt.Fprintf(w, "no random label is needed: the others give %.1f points for %s\n", 100*p.HalfWidth, window)
	}
	if p.NowLabels > 0 {
		fmt.Fprintf(w, "now %.1f a day (%d in %s) give %.1f points\n", p.NowPerDay, p.NowLabels, window, 100*p.NowHalfWidth)
	} else {
		fmt.Fprintln(w, "now none of them is labelled")
	}
	if p.OtherLabels > 0 {
		fmt.Fprintf(w, "%d labels of the other strata come anyway and are counted in\n", p.OtherLabels)
	}
}
