package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"driftgate"
	"driftgate/internal/app"
	"driftgate/internal/ledger"
	"driftgate/trainer"

	"github.com/spf13/cobra"
)

func ended(state string) bool { return state == "done" || state == "failed" || state == "cancelled" }

// progressLine says what an unfinished run is doing; empty when it does
// not say.
func progressLine(run ledger.Run) string {
	var p trainer.Progress
	if len(run.Progress) == 0 || json.Unmarshal(run.Progress, &p) != nil {
		return ""
	}
	return p.Line()
}

// enthroned is the model that a finished run made the champion; empty for none.
func enthroned(run ledger.Run) driftgate.ModelRef {
	var result struct {
		Promoted   bool               `json:"promoted"`
		Model      driftgate.ModelRef `json:"model"`      // of a training
		Challenger driftgate.ModelRef `json:"challenger"` // of a retraining
	}
	if len(run.Result) == 0 || json.Unmarshal(run.Result, &result) != nil || !result.Promoted {
		return ""
	}
	return cmp.Or(result.Challenger, result.Model)
}

func (g *global) showRun(cmd *cobra.Command, run ledger.Run) error {
	err := g.show(cmd, run, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %s  %s\n", run.ID, run.Pipeline, strings.TrimSpace(run.State+" "+run.Verdict))
		if !ended(run.State) {
			if line := progressLine(run); line != "" {
				fmt.Fprintln(w, line)
			}
		}
		printResult(w, run.Result)
	})
	if err != nil {
		return err
	}
	switch run.State {
	case "failed":
		return fmt.Errorf("run %s failed: %s", run.ID, run.Error)
	case "cancelled":
		return fmt.Errorf("run %s was cancelled", run.ID)
	}
	return nil
}

// printResult prints a run's result, a comparison in it as compare does.
func printResult(w io.Writer, raw json.RawMessage) {
	if len(raw) == 0 {
		return
	}
	var compared struct {
		Comparison *driftgate.Comparison `json:"comparison"`
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		printFields(w, raw)
		return
	}
	_ = json.Unmarshal(raw, &compared) // a result without one
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, key := range keyOrder(raw) {
		if key != "comparison" {
			fmt.Fprintf(t, "%s\t%s\n", key, plainValue(fields[key]))
		}
	}
	t.Flush()
	if c := compared.Comparison; c != nil && c.Pairs > 0 {
		fmt.Fprintln(w)
		printComparison(w, *c)
	}
}

// plainValue is a value without JSON's marks, an object as its names and values.
func plainValue(raw json.RawMessage) string {
	var text string
	var number float64
	if string(raw) == "null" {
		return "-"
	}
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	if json.Unmarshal(raw, &number) == nil {
		return strconv.FormatFloat(number, 'g', 6, 64)
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil || fields == nil {
		return string(raw)
	}
	var parts []string
	for _, key := range keyOrder(raw) {
		parts = append(parts, key+" "+plainValue(fields[key]))
	}
	return strings.Join(parts, ", ")
}

func newRuns(g *global) *cobra.Command {
	c := &cobra.Command{Use: "runs", Short: "pipeline runs: list, show, start, cancel, backfill; triggers: who asked for a retraining"}
	c.AddCommand(newRunsList(g), newRunsTriggers(g), newRunsShow(g), newRunsStart(g), newRunsCancel(g), newRunsBackfill(g))
	return c
}

func newRunsList(g *global) *cobra.Command {
	var pipeline string
	var limit int
	c := &cobra.Command{
		Use:     "list",
		Short:   "the latest runs",
		Example: "  driftgate runs list --pipeline retrain",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.with(cmd, func(c *app.Client) error {
				var out struct {
					Runs []ledger.Run `json:"runs"`
				}
				if err := c.Get(cmd.Context(), fmt.Sprintf("/api/v1/runs?pipeline=%s&limit=%d", url.QueryEscape(pipeline), limit), &out); err != nil {
					return err
				}
				return g.show(cmd, out, func(w io.Writer) {
					t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
					fmt.Fprintln(t, "asked for\trun\tstate\tverdict\tprogress or error")
					for _, r := range out.Runs {
						said := r.Error
						if !ended(r.State) {
							said = progressLine(r)
						}
						fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.RequestedAt.UTC().Format(time.DateTime), r.ID, r.State, r.Verdict, said)
					}
					t.Flush()
				})
			})
		},
	}
	c.Flags().StringVar(&pipeline, "pipeline", "", "only this pipeline: retrain, train, rollout, prune, curate, collect, reconcile")
	c.Flags().IntVar(&limit, "limit", 20, "how many")
	return c
}

func newRunsShow(g *global) *cobra.Command {
	var wait bool
	c := &cobra.Command{
		Use:     "show [ID]",
		Short:   "one run with its result, or how far it is; without an ID the newest retraining",
		Example: "  driftgate runs show --wait\n  driftgate runs show retrain-classifier-1f2e3d",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.with(cmd, func(c *app.Client) error {
				id, err := runID(cmd.Context(), c, args)
				if err != nil {
					return err
				}
				if wait {
					return g.followRun(cmd, c, id)
				}
				var run ledger.Run
				if err := c.Get(cmd.Context(), "/api/v1/runs/"+url.PathEscape(id), &run); err != nil {
					return err
				}
				return g.showRun(cmd, run)
			})
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "show the progress until it ends")
	return c
}

// runID is the run that was named, else the newest retraining.
func runID(ctx context.Context, c *app.Client, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	var out struct {
		Runs []ledger.Run `json:"runs"`
	}
	if err := c.Get(ctx, "/api/v1/runs?pipeline=retrain&limit=1", &out); err != nil {
		return "", err
	}
	if len(out.Runs) == 0 {
		return "", fmt.Errorf("no retraining yet: driftgate runs start asks for one: %w", driftgate.ErrNotFound)
	}
	return out.Runs[0].ID, nil
}

func newRunsStart(g *global) *cobra.Command {
	var reason string
	var wait bool
	c := &cobra.Command{
		Use:     "start",
		Short:   "ask for a retraining; exit code 3 when one is under way",
		Example: `  driftgate runs start --reason "new supplier" --wait`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.with(cmd, func(c *app.Client) error {
				var out struct {
					Run      string `json:"run"`
					Decision string `json:"decision"`
					Note     string `json:"note"`
				}
				if err := c.Post(cmd.Context(), "/api/v1/runs", map[string]string{"reason": reason}, &out); err != nil {
					return err
				}
				if out.Decision != string(driftgate.Accepted) {
					return fmt.Errorf("%s: %s: %w", out.Decision, out.Note, driftgate.ErrRefused)
				}
				if wait {
					return g.followRun(cmd, c, out.Run)
				}
				return g.show(cmd, out, func(w io.Writer) { fmt.Fprintln(w, out.Run) })
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "asked for by hand", "why, for the record")
	c.Flags().BoolVar(&wait, "wait", false, "show the progress until it ends")
	return c
}

func newRunsCancel(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "cancel ID",
		Short:   "end a run; its checkpoint stays",
		Example: "  driftgate runs cancel retrain-classifier-1f2e3d",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.with(cmd, func(c *app.Client) error {
				return c.Post(cmd.Context(), "/api/v1/runs/"+url.PathEscape(args[0])+"/cancel", nil, nil)
			})
		},
	}
}

func newRunsBackfill(g *global) *cobra.Command {
	var interval string
	c := &cobra.Command{
		Use:     "backfill PIPELINE",
		Short:   "run a pipeline for every interval of a span: exactly (end-start)/step runs",
		Example: "  driftgate runs backfill curate --interval 2026-11-20T00:00:00Z/2026-11-21T00:00:00Z",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			iv, err := driftgate.ParseInterval(interval)
			if err != nil {
				return err
			}
			return g.report(cmd, "/api/v1/runs/backfill", map[string]any{"pipeline": args[0], "start": iv.Start, "end": iv.End})
		},
	}
	c.Flags().StringVar(&interval, "interval", "", "START/END, RFC 3339, on multiples of the pipeline's step")
	_ = c.MarkFlagRequired("interval")
	return c
}

// modelList is GET /api/v1/models.
type modelList struct {
	Models  []json.RawMessage    `json:"models"`
	History []driftgate.Champion `json:"history"`
}

func (m modelList) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "version\trole\tsaved\ttest accuracy\tdataset")
	for _, raw := range m.Models {
		var e struct {
			Ref      driftgate.ModelRef `json:"ref"`
			Role     string             `json:"role"`
			SavedAt  time.Time          `json:"saved_at"`
			Manifest struct {
				Dataset string             `json:"dataset"`
				Metrics map[string]float64 `json:"metrics"`
			} `json:"manifest"`
		}
		if json.Unmarshal(raw, &e) == nil {
			fmt.Fprintf(t, "%s\t%s\t%s\t%.3f\t%s\n", e.Ref.Short(), e.Role, e.SavedAt.UTC().Format(time.DateTime), e.Manifest.Metrics["test_accuracy"], e.Manifest.Dataset)
		}
	}
	fmt.Fprintln(t, "\ngeneration\tversion\tsince\treason")
	for _, h := range m.History {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", h.Generation, h.Version.Short(), h.PromotedAt.UTC().Format(time.DateTime), h.Reason)
	}
	t.Flush()
}
