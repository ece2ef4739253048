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

func newModels(g *global) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error {
		return g.with(cmd, func(c *app.Client) error {
			var out modelList
			if err := c.Get(cmd.Context(), "/api/v1/models", &out); err != nil {
				return err
			}
			return g.show(cmd, out, out.print)
		})
	}
	c := &cobra.Command{
		Use:     "models",
		Short:   "list the model versions and the champion's history; export, import, sign, prune them",
		Example: "  driftgate models\n  driftgate models --format json",
		Args:    cobra.NoArgs,
		RunE:    list,
	}
	c.AddCommand(&cobra.Command{Use: "list", Short: "the same as models alone", Args: cobra.NoArgs, RunE: list},
		newModelShow(g), newModelExport(g), newModelImport(g), newModelVerify(g), newModelSign(g), newModelKeygen(), newModelPrune(g))
	return c
}

func newCompare(g *global) *cobra.Command {
	var study bool
	c := &cobra.Command{
		Use:   "compare A B [C...]",
		Short: "compare versions on the same held-out human labels; --study shows all that is known",
		Long: "Compares version B against version A on the held-out samples that neither was\ntrained on. A version is named by the start of its digest, or by champion,\nprevious or latest." +
			"\n--study, and any third version, shows every suite, what differs by class and\nslice beyond chance, and in what their trainings differ. It may take half a\nminute the first time.",
		Example: "  driftgate compare champion latest\n  driftgate compare champion latest --study\n  driftgate compare 69ef ec2d f056 --format json",
		Args:    cobra.RangeArgs(2, 8),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.with(cmd, func(c *app.Client) error {
				if study || len(args) > 2 {
					return g.study(cmd, c, args)
				}
				return g.compare(cmd, c, args[0], args[1], false)
			})
		},
	}
	c.Flags().BoolVar(&study, "study", false, "every suite, class and slice, and the differences in training")
	return c
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
	var reason, from string
	c := &cobra.Command{
		Use:     "rollback",
		Short:   "serve the previous champion again",
		Example: `  driftgate rollback --reason "complaints about bags"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.moveChampion(cmd, "/api/v1/rollback", map[string]string{"reason": reason, "from": from})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	c.Flags().StringVar(&from, "from", "", "the version to take back; when another serves by now, nothing is moved")
	return c
}

func (g *global) moveChampion(cmd *cobra.Command, path string, in any) error {
	return g.with(cmd, func(c *app.Client) error {
		var before struct {
			Digest driftgate.ModelRef `json:"digest"`
		}
		if err := c.Get(cmd.Context(), "/version", &before); err != nil {
			return err
		}
		var now driftgate.Champion
		if err := c.Post(cmd.Context(), path, in, &now); err != nil {
			return err
		}
		served(cmd.Context(), c, now.Version, cmd.ErrOrStderr())
		return g.show(cmd, now, func(w io.Writer) {
			from := "none"
			if before.Digest != "" {
				from = before.Digest.Short()
			}
			fmt.Fprintf(w, "champion %s -> %s (generation %d)\n", from, now.Version.Short(), now.Generation)
		})
	})
}
