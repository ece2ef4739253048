package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"driftgate/evaluator"
	"driftgate/internal/app"

	"github.com/spf13/cobra"
)

// askEvery is how often a computation that takes long is asked for.
const askEvery = 2 * time.Second

// await reads path, and asks again while the gateway computes it. The answer is
// kept as it came, so that --format json shows what the gateway said.
func await[T any](ctx context.Context, c *app.Client, path string) (raw json.RawMessage, value T, err error) {
	for {
		if err := c.Get(ctx, path, &raw); err != nil {
			return nil, value, err
		}
		var state struct {
			State string `json:"state"`
		}
		if err := json.Unmarshal(raw, &state); err != nil || state.State != "computing" {
			return raw, value, json.Unmarshal(raw, &value)
		}
		select {
		case <-time.After(askEvery):
		case <-ctx.Done():
			return nil, value, ctx.Err()
		}
	}
}

// study prints two or more versions side by side.
func (g *global) study(cmd *cobra.Command, c *app.Client, versions []string) error {
	raw, s, err := await[evaluator.Study](cmd.Context(), c, "/api/v1/compare/study?"+url.Values{"versions": {strings.Join(versions, ",")}}.Encode())
	if err != nil {
		return err
	}
	if len(s.Versions) == 0 {
		return errors.New("the gateway's study has no versions: is it of another release?")
	}
	return g.show(cmd, raw, func(w io.Writer) { printStudy(w, s) })
}

func printStudy(w io.Writer, s evaluator.Study) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprint(t, "suite")
	for i, v := range s.Versions {
		fmt.Fprintf(t, "\t%c %s", 'A'+i, v.Version.Short())
	}
	fmt.Fprintln(t)
	for k, suite := range s.Versions[0].Suites {
		fmt.Fprintf(t, "%s (%d)", suite.Name, suite.Samples)
		for _, v := range s.Versions {
			if k < len(v.Suites) {
				fmt.Fprintf(t, "\t%s", boundedText(v.Suites[k].Accuracy, v.Suites[k].Fault))
			}
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
	letter := map[string]byte{}
	for i, v := range s.Versions {
		letter[string(v.Version)] = byte('A' + i)
	}
	for _, p := range s.Pairs {
		printPair(w, p, letter[string(p.A)], letter[string(p.B)])
	}
	if len(s.Training) > 0 {
		fmt.Fprintln(w)
		for _, d := range s.Training {
			fmt.Fprintf(t, "%s\t%s\n", d.What, strings.Join(d.Values, "\t"))
		}
		_ = t.Flush()
	}
	for _, note := range s.Notes {
		fmt.Fprintln(w, "note:", note)
	}
}

// printPair prints one version against another: the verdict, and what differs
// beyond chance.
func printPair(w io.Writer, p evaluator.PairStudy, a, b byte) {
	fmt.Fprintf(w, "\n%c as challenger of %c: %s\n", b, a, p.Comparison.Verdict)
	for _, reason := range p.Comparison.Reasons {
		fmt.Fprintln(w, "-", reason)
	}
	if n := p.Comparison.LabelsToDecide; n > 0 {
		fmt.Fprintf(w, "- about %d more labels would settle it\n", n)
	}
	for _, x := range p.Suites {
		if x.Fault != "" {
			fmt.Fprintf(w, "  %s: %s\n", x.Suite, x.Fault)
			continue
		}
		fmt.Fprintf(w, "  %s: %+.1f points [%+.1f, %+.1f] on %d; only %c right %d, only %c %d, both wrong %d\n", x.Suite, 100*x.Difference.Value, 100*x.Difference.Lower, 100*x.Difference.Upper,
			x.Difference.Samples, a, x.OnlyA, b, x.OnlyB, x.BothWrong)
		for _, d := range x.Parts {
			if d.Significant {
				fmt.Fprintf(w, "    %s %s: %+.1f points [%+.1f, %+.1f], %.1f%% -> %.1f%%\n", d.By, d.Value, 100*d.Difference.Value, 100*d.Difference.Lower, 100*d.Difference.Upper, 100*d.A, 100*d.B)
			}
		}
	}
}

// boundedText is a ratio with its bounds, or why there is none.
func boundedText(x evaluator.Bounded, fault string) string {
	switch {
	case fault != "":
		return fault
	case x.Samples == 0:
		return "none"
	}
	return fmt.Sprintf("%.3f [%.3f, %.3f]", x.Value, x.Lower, x.Upper)
}

// modelReport prints a version on every suite.
func (g *global) modelReport(cmd *cobra.Command, c *app.Client, ref string) error {
	raw, r, err := await[evaluator.Report](cmd.Context(), c, modelPath(ref, "report"))
	if err != nil {
		return err
	}
	return g.show(cmd, raw, func(w io.Writer) { printReport(w, r) })
}

func printReport(w io.Writer, r evaluator.Report) {
	fmt.Fprintf(w, "%s: one image takes %.3g ms, %d parameters, %.1f MiB\n", r.Version.Short(), 1000*r.Speed.P50, r.Size.Parameters, float64(r.Size.Bytes)/(1<<20))
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, s := range r.Suites {
		fmt.Fprintf(w, "\n%s, %d images: %s; calibration error %.3f\n", s.Name, s.Samples, boundedText(s.Accuracy, s.Fault), s.Calibration.Error)
		if s.Fault != "" {
			continue
		}
		fmt.Fprintln(t, "class\trecall\tprecision")
		for _, c := range s.PerClass {
			fmt.Fprintf(t, "%s\t%s\t%s\n", c.Class, boundedText(c.Recall, ""), boundedText(c.Precision, ""))
		}
		_ = t.Flush()
		for _, x := range s.Slices {
			if x.Weak {
				fmt.Fprintf(w, "weak: %s %s: %s on %d images, elsewhere %.3f\n", x.By, x.Value, boundedText(x.Accuracy, ""), x.Samples, x.Rest.Value)
			}
		}
	}
	for _, c := range r.Robustness {
		fmt.Fprintf(w, "\n%s (%s):", c.Knob, c.Unit)
		for _, p := range c.Points {
			fmt.Fprintf(w, " %.3g: %.3f", p.Strength, p.Accuracy.Value)
		}
	}
	if len(r.Robustness) > 0 {
		fmt.Fprintln(w)
	}
	for _, note := range r.Notes {
		fmt.Fprintln(w, "note:", note)
	}
}

func newReject(g *global) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:     "reject REF",
		Short:   "put on record that a version does not take over, and why",
		Example: `  driftgate reject 3f2a91 --reason "no better for shirts: see ticket 12"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(reason) == "" {
				return usageError{errors.New("--reason: want a word of why, for the record")}
			}
			return g.with(cmd, func(c *app.Client) error {
				if err := c.Post(cmd.Context(), "/api/v1/reject", map[string]string{"ref": args[0], "reason": reason}, nil); err != nil {
					return err
				}
				return g.show(cmd, map[string]string{"rejected": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "on record: %s does not take over\n", args[0]) })
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the record; required")
	return c
}
