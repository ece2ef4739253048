package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"driftgate"
	"driftgate/internal/app"
	"driftgate/internal/rollout"

	"github.com/spf13/cobra"
)

func newRollout(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "rollout",
		Short: "what is tried on production or watched, and on what evidence",
		Long: "Shows the challenger that is tried in the shadow or as a canary, or the fresh\n" +
			"champion that is watched: how its errors differ from those of what it replaces\n" +
			"on the labels since then, with bounds that hold at every look, and what follows.",
		Example: "  driftgate rollout\n  driftgate rollout --format json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.with(cmd, func(c *app.Client) error {
				var s rollout.Status
				if err := c.Get(cmd.Context(), "/api/v1/rollout", &s); err != nil {
					return err
				}
				return g.show(cmd, s, func(w io.Writer) { printRollout(w, s) })
			})
		},
	}
}

func printRollout(w io.Writer, s rollout.Status) {
	fmt.Fprintf(w, "champion %s, generation %d, since %s\n", s.Champion.Version.Short(), s.Champion.Generation, s.Champion.PromotedAt.UTC().Format(driftgate.TimeFormat))
	switch e := s.Exposure; {
	case e.Challenger == "":
		fmt.Fprintln(w, "nothing is tried beside it")
	case e.Stage == driftgate.Canary:
		fmt.Fprintf(w, "canary %s answers %.3g%% of the traffic since %s: %s\n", e.Challenger.Short(), 100*e.Share, e.Since.UTC().Format(driftgate.TimeFormat), e.Reason)
	default:
		fmt.Fprintf(w, "%s answers in the shadow since %s: %s\n", e.Challenger.Short(), e.Since.UTC().Format(driftgate.TimeFormat), e.Reason)
	}
	if s.Subject != "" {
		ev := s.Evidence
		fmt.Fprintf(w, "\n%s against %s, on %d labelled samples of %d closed slots\n", s.Subject.Short(), s.Against.Short(), ev.Pairs, ev.Slots)
		fmt.Fprintf(w, "  error difference %+.1f points [%+.1f, %+.1f]\n", 100*ev.Difference, 100*ev.Lower, 100*ev.Upper)
		fmt.Fprintf(w, "  evidence of harm %.3g, taken back at %.0f; evidence that it is better %.3g\n", ev.Worse, ev.Threshold, ev.Better)
	}
	for _, a := range s.Accuracy {
		fmt.Fprintf(w, "  its own accuracy (%s) %.3f [%.3f, %.3f], %d labels\n", a.Estimator, a.Accuracy, a.Lower, a.Upper, a.Labels)
	}
	fmt.Fprintf(w, "\n%s: %s\n", s.Move, s.Why)
}

func newExpose(g *global) *cobra.Command {
	var stage, share, reason string
	var end bool
	c := &cobra.Command{
		Use:   "expose [REF]",
		Short: "try a version on production, in the shadow or as a canary; --end stops it",
		Long: "Tries a version beside the champion until a person ends it, or until it is shown\n" +
			"to do harm. In the shadow it answers what the champion answers and nobody sees\n" +
			"it; as a canary it answers its share of the uploads.",
		Example: "  driftgate expose 3f2a91 --stage shadow\n  driftgate expose 3f2a91 --stage canary --share 5%\n  driftgate expose --end --reason \"seen enough\"",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, in, err := exposeRequest(args, stage, share, reason, end)
			if err != nil {
				return usageError{err}
			}
			return g.with(cmd, func(c *app.Client) error {
				var e driftgate.Exposure
				if err := c.Post(cmd.Context(), path, in, &e); err != nil {
					return err
				}
				return g.show(cmd, e, func(w io.Writer) {
					switch {
					case e.Challenger == "":
						fmt.Fprintln(w, "nothing is tried beside the champion any more")
					case e.Stage == driftgate.Canary:
						fmt.Fprintf(w, "canary %s answers %.3g%% of the traffic; servers follow within seconds\n", e.Challenger.Short(), 100*e.Share)
					default:
						fmt.Fprintf(w, "%s answers in the shadow; servers follow within seconds\n", e.Challenger.Short())
					}
				})
			})
		},
	}
	c.Flags().StringVar(&stage, "stage", "canary", "shadow or canary")
	c.Flags().StringVar(&share, "share", "", "of the traffic that a canary answers, as 5% or 0.05")
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	c.Flags().BoolVar(&end, "end", false, "end what is tried")
	return c
}

func exposeRequest(args []string, stage, share, reason string, end bool) (path string, in map[string]any, err error) {
	if end {
		if len(args) > 0 || share != "" {
			return "", nil, errors.New("--end wants neither a version nor a share")
		}
		return "/api/v1/expose/end", map[string]any{"reason": reason}, nil
	}
	if len(args) == 0 {
		return "", nil, errors.New("want a version (driftgate models lists them), or --end")
	}
	in = map[string]any{"ref": args[0], "stage": stage, "reason": reason}
	switch stage {
	case string(driftgate.Shadow):
		if share != "" {
			return "", nil, errors.New("--share in the shadow: want none, nobody sees its answers")
		}
	case string(driftgate.Canary):
		x, err := rollout.ParseShare(share)
		if err != nil {
			return "", nil, fmt.Errorf("--share: %w", err)
		}
		in["share"] = x
	default:
		return "", nil, fmt.Errorf("--stage %q: want shadow or canary", stage)
	}
	return "/api/v1/expose", in, nil
}

func newMoves(g *global) *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:     "moves",
		Short:   "who moved which model, when and why: promotions, rollbacks, trials, rejections",
		Example: "  driftgate moves\n  driftgate moves --format json   # with the evidence",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.with(cmd, func(c *app.Client) error {
				var out moveList
				if err := c.Get(cmd.Context(), "/api/v1/moves?"+url.Values{"limit": {strconv.Itoa(limit)}}.Encode(), &out); err != nil {
					return err
				}
				return g.show(cmd, out, out.print)
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", 20, "how many, the newest first")
	return c
}

type moveList struct {
	Moves []struct {
		At       time.Time `json:"at"`
		Kind     string    `json:"kind"`
		Version  string    `json:"version"`
		Who      string    `json:"who"`
		Why      string    `json:"why"`
		Evidence any       `json:"evidence,omitempty"`
	} `json:"moves"`
}

func (l moveList) print(w io.Writer) {
	if len(l.Moves) == 0 {
		fmt.Fprintln(w, "no model was moved yet")
		return
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "AT\tWHAT\tVERSION\tWHO\tWHY")
	for _, m := range l.Moves {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", m.At.UTC().Format(driftgate.TimeFormat), m.Kind, m.Version, m.Who, m.Why)
	}
	_ = t.Flush()
}
