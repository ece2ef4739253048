package main

import (
	"fmt"
	"io"
	"os"

	"driftgate/alerts"

	"github.com/spf13/cobra"
)

// maxDescription is more than any description that is taken, in bytes.
const maxDescription = 1 << 20

func newRules(g *global) *cobra.Command {
	var file string
	var describe bool
	c := &cobra.Command{
		Use:   "rules",
		Short: "print Prometheus' recording and alerting rules for an objective",
		Long: `Prints the recording and alerting rules of driftgate for the promise that a
short file describes: objective, windows, burn rates, labels, addresses. A burn
rate that could never fire is refused with the arithmetic, and so is a window
that the gateway of --config does not export (its metrics.windows): an alert on
it would never fire, and nobody would know. --describe prints the description
that ships, to start from.`,
		Example: `  driftgate rules --describe > slo.yml
  driftgate rules --slo slo.yml --config driftgate.yml > rules.yml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := description(file)
			if err != nil {
				return err
			}
			slo, err := alerts.ParseSLO(text)
			if err != nil {
				return err
			}
			if !describe {
				conf, _, err := g.load(nil)
				if err != nil {
					return err
				}
				if err := slo.AnsweredBy(conf.Metrics.Windows); err != nil {
					return err
				}
				if text, err = alerts.Generate(slo); err != nil {
					return err
				}
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	c.Flags().StringVar(&file, "slo", "", "the description (default the one that ships)")
	c.Flags().BoolVar(&describe, "describe", false, "print the description itself, checked")
	return c
}

// description reads the file, or what ships when it is none.
func description(file string) ([]byte, error) {
	if file == "" {
		return alerts.Files.ReadFile("slo.yml")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxDescription))
}
