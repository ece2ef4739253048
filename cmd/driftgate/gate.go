package main

import (
	"fmt"
	"io"

	"driftgate/internal/config"

	"github.com/spf13/cobra"
)

func newGate(g *global) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "gate",
		Short: "print when a challenger may replace the champion",
		Long: `Prints the gate that holds, every default filled in: suites, floors, margins. It
is the document that gate.file of the configuration names, or the built-in one.
--file checks another document and prints that; mistakes are all reported at
once, with their lines. What is printed can be edited and used as gate.file.`,
		Example: `  driftgate gate --config driftgate.yml
  driftgate gate > gate.yml                # the built-in one, to start from
  driftgate gate --file gate.yml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, _, err := g.load(nil)
			if err != nil {
				return err
			}
			gate := conf.Gate.Document()
			if file != "" {
				if gate, err = config.ReadGate(file); err != nil {
					return err
				}
			}
			return g.show(cmd, gate.WithDefaults(), func(w io.Writer) { fmt.Fprint(w, config.FormatGate(gate)) })
		},
	}
	c.Flags().StringVar(&file, "file", "", "a gate document to check and print instead")
	return c
}
