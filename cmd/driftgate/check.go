package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"driftgate/internal/app"

	"github.com/spf13/cobra"
)

func newCheck(g *global) *cobra.Command {
	var o app.CheckOptions
	c := &cobra.Command{
		Use:   "check",
		Short: "verify a deployment: object store and rights, clock, ledger, champion, spool, webhook, StatsD, Prometheus",
		Long: `Looks at everything the gateway stands on and says of each thing ok, warn or
FAIL, and what to do about it. The gateway that owns --dir is asked; when none
runs, the command looks itself: it makes no buckets on a configured S3 server
and migrates no ledger, so it is safe before an upgrade. It writes and deletes
one small object in each bucket.

With --prometheus it also asks that server, from here, whether it has this
gateway's fresh series, whether driftgate's rules are loaded, evaluate and can
ever fire on what this gateway exports, and whether an Alertmanager with a
webhook hears of them. An http.alerts_token of the configuration
is tried at the webhook with a delivery that starts nothing.

The exit code is 1 when something failed; a warning is no failure.`,
		Example: "  driftgate check --config driftgate.yml\n  driftgate check --format json\n  driftgate check --prometheus http://127.0.0.1:9090",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, _, err := g.load(nil)
			if err != nil {
				return err
			}
			report, err := app.Check(cmd.Context(), conf, o)
			if err != nil {
				return err
			}
			if err := g.show(cmd, report, func(w io.Writer) { printChecks(w, report) }); err != nil {
				return err
			}
			if !report.OK {
				return errors.New("not everything is in order")
			}
			return nil
		},
	}
	c.Flags().StringVar(&o.Prometheus, "prometheus", "", "base URL of the Prometheus that scrapes this gateway; user and password may be in it")
	return c
}

func printChecks(w io.Writer, report app.CheckReport) {
	marks := map[string]string{app.CheckOK: "ok", app.CheckWarn: "warn", app.CheckFail: "FAIL"}
	for _, k := range report.Checks {
		const margin = "\n                      "
		fmt.Fprintf(w, "%-4s  %-14s  %s\n", marks[k.Status], k.Name, strings.ReplaceAll(k.Detail, "\n", margin))
		if k.Fix != "" {
			fmt.Fprintf(w, "%s%s\n", margin[1:], "-> "+k.Fix)
		}
	}
}
