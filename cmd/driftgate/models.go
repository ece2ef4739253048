package main

import (
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"

	"driftgate"
	"driftgate/internal/app"

	"github.com/spf13/cobra"
)

func newAccuracy(g *global) *cobra.Command {
	var window, at, version string
	c := &cobra.Command{
		Use:   "accuracy",
		Short: "production accuracy of a window, with bounds and counts",
		Example: `  driftgate accuracy --window 24h
  driftgate accuracy --window 7d --at 2026-11-22T00:00:00Z --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.with(cmd, func(c *app.Client) error {
				q := url.Values{"window": {window}, "version": {version}}
				if at != "" {
					q.Set("at", at)
				}
				var a driftgate.Accuracy
				if err := c.Get(cmd.Context(), "/api/v1/accuracy?"+q.Encode(), &a); err != nil {
					return err
				}
				return g.show(cmd, a, func(w io.Writer) { printAccuracy(w, a) })
			})
		},
	}
	c.Flags().StringVar(&window, "window", "24h", "length of the window: 30m, 24h, 7d")
	c.Flags().StringVar(&version, "version", "champion", "champion, all (also what other programs wrote), or a version")
	c.Flags().StringVar(&at, "at", "", "end of the window, RFC 3339 (default now)")
	return c
}

func printAccuracy(w io.Writer, a driftgate.Accuracy) {
	fmt.Fprintf(w, "%s to %s: %d predictions, %d picked, %d labelled\n", a.Start.Format("2006-01-02 15:04"), a.End.Format("2006-01-02 15:04 MST"), a.Predictions, a.Selected, a.Labels)
	if len(a.Estimates) == 0 {
		fmt.Fprintln(w, "too few labels for a figure")
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, e := range a.Estimates {
		partial := ""
		if e.Partial {
			partial = "partial: a stratum has no label yet"
		}
		fmt.Fprintf(t, "%s\t%.3f\t[%.3f, %.3f]\t%s\n", e.Estimator, e.Accuracy, e.Lower, e.Upper, partial)
	}
	fmt.Fprintln(t, "\nstratum\tpredictions\tlabels\tcorrect")
	for _, s := range a.Strata {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\n", s.Stratum, s.Predictions, s.Labels, s.Correct)
	}
	t.Flush()
	if a.Note != "" {
		fmt.Fprintln(w, a.Note)
	}
}

func newModels(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "models",
		Short:   "list the model versions and the champion's history",
		Example: "  driftgate models\n  driftgate models --format json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.with(cmd, func(c *app.Client) error {
				var out modelList
				if err := c.Get(cmd.Context(), "/api/v1/models", &out); err != nil {
					return err
				}
				return g.show(cmd, out, out.print)
			})
		},
	}
}

func newCompare(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "compare A B",
		Short:   "compare two versions on the same held-out human labels",
		Long:    "Compares version B against version A on the held-out samples that neither was\ntrained on. A version is named by the start of its digest, or by champion,\nprevious or latest.",
		Example: "  driftgate compare champion latest",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.with(cmd, func(c *app.Client) error {
				return g.compare(cmd, c, args[0], args[1], false)
			})
		},
	}
}

func newEvaluate(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "evaluate [CHALLENGER]",
		Short:   "judge a challenger against the champion; exit code 3 unless it would be promoted",
		Example: "  driftgate evaluate            # the latest version\n  driftgate evaluate 3f2a91",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			challenger := "latest"
			if len(args) > 0 {
				challenger = args[0]
			}
			return g.with(cmd, func(c *app.Client) error {
				return g.compare(cmd, c, "champion", challenger, true)
			})
		},
	}
}

func (g *global) compare(cmd *cobra.Command, c *app.Client, a, b string, judge bool) error {
	var r driftgate.Comparison
	if err := c.Get(cmd.Context(), "/api/v1/compare?"+url.Values{"a": {a}, "b": {b}}.Encode(), &r); err != nil {
		return err
	}
	if err := g.show(cmd, r, func(w io.Writer) { printComparison(w, r) }); err != nil || !judge {
		return err
	}
	return refusal(r.Verdict, r.Reasons)
}

func printComparison(w io.Writer, r driftgate.Comparison) {
	fmt.Fprintf(w, "champion %s, challenger %s, %d held-out labelled samples\n\n", r.Champion.Short(), r.Challenger.Short(), r.Pairs)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "\tchallenger right\tchallenger wrong\nchampion right\t%d\t%d\nchampion wrong\t%d\t%d\n", r.BothRight, r.OnlyChampion, r.OnlyChallenger, r.BothWrong)
	t.Flush()
	fmt.Fprintf(w, "\nchallenger minus champion, weighted: %+.3f [%+.3f, %+.3f]; McNemar on the random stratum p = %.3g\n%s\n", r.Difference, r.Lower, r.Upper, r.PValue, r.Verdict)
	for _, reason := range r.Reasons {
		fmt.Fprintln(w, "-", reason)
	}
}

func newPromote(g *global) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:     "promote REF",
		Short:   "make a version the champion, by a person's decision",
		Example: `  driftgate promote 3f2a91 --reason "judged by hand: see ticket 12"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.moveChampion(cmd, "/api/v1/promote", map[string]string{"ref": args[0], "reason": reason})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return c
}

func newRollback(g *global) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:     "rollback",
		Short:   "serve the previous champion again",
		Example: `  driftgate rollback --reason "complaints about bags"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.moveChampion(cmd, "/api/v1/rollback", map[string]string{"reason": reason})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return c
}

func (g *global) moveChampion(cmd *cobra.Command, path string, in any) error {
	return g.with(cmd, func(c *app.Client) error {
		var now driftgate.Champion
		if err := c.Post(cmd.Context(), path, in, &now); err != nil {
			return err
		}
		return g.show(cmd, now, func(w io.Writer) {
			fmt.Fprintf(w, "champion %s -> %s (generation %d)\n", now.Previous.Short(), now.Version.Short(), now.Generation)
		})
	})
}
