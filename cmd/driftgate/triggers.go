package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"driftgate/internal/app"
	"driftgate/internal/ledger"

	"github.com/spf13/cobra"
)

func newRunsTriggers(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "triggers",
		Short: "who asked for a retraining, newest first, and the answer each got",
		Long: `Lists the requests to retrain: the drift alarm's, Alertmanager's, the schedule's
and people's, each with the answer that it got. accepted started a run, joined
and busy found one under way for the same incident or another reason, cooldown
and budget came too soon or too often, resolved ended the incident.`,
		Example: "  driftgate runs triggers",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.with(cmd, func(c *app.Client) error {
				var out struct {
					Triggers []ledger.TriggerRecord `json:"triggers"`
				}
				if err := c.Get(cmd.Context(), "/api/v1/triggers", &out); err != nil {
					return err
				}
				return g.show(cmd, out, func(w io.Writer) {
					t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
					fmt.Fprintln(t, "asked at\tby\tanswer\twhy asked, why answered so")
					for _, r := range out.Triggers {
						why := r.Reason
						if r.Note != "" {
							why += "; " + r.Note
						}
						fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", r.At.UTC().Format(time.DateTime), r.Source, r.Decision, why)
					}
					t.Flush()
				})
			})
		},
	}
}
