package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"driftgate"
	"driftgate/internal/app"
	"driftgate/internal/config"
	"driftgate/internal/kernel"

	"github.com/spf13/cobra"
)

// global holds the flags that every command has.
type global struct {
	file   string
	dir    string
	format string
	set    []string
}

func newRoot() *cobra.Command {
	g := &global{}
	root := &cobra.Command{
		Use:   "driftgate",
		Short: "closes the loop of a deployed image classifier",
		Long: `driftgate serves an image classifier, keeps every prediction, has some of them
labelled by people, turns the labels into a production accuracy that can be
trusted, raises an alarm when it drifts, retrains, judges the challenger
against the champion on held-out labels, and promotes the winner.

Commands find the gateway that owns --dir and talk to it; when none runs, they
open the folder themselves.`,
		Example: `  driftgate demo                           # the whole loop, in about two minutes
  driftgate serve                          # the gateway, on http://127.0.0.1:8080
  driftgate accuracy --window 24h`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if g.format != "text" && g.format != "json" {
				return usageError{fmt.Errorf("--format %q: want text or json", g.format)}
			}
			return kernel.Check()
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&g.file, "config", "", "configuration file (YAML)")
	flags.StringVar(&g.dir, "dir", "", "folder of all embedded state (default driftgate-data)")
	flags.StringVar(&g.format, "format", "text", "text or json")
	flags.StringArrayVar(&g.set, "set", nil, "one setting as key=value; may be repeated (driftgate config lists the keys)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newServe(g), newDemo(g), newIngest(g), newTrain(g), newTrainChild(),
		newCurate(g), newCollect(g), newLabels(g), newPredict(g),
		newAccuracy(g), newPlan(g), newSimulate(g), newModels(g), newCompare(g), newEvaluate(g), newGate(g), newPromote(g), newRollback(g),
		newExpose(g), newRollout(g), newMoves(g), newReject(g),
		newRuns(g), newExperiments(g), newLedger(g), withProbe(g, newCheck(g)), newConfig(g), newRules(g), newVersion(g),
	)
	for _, c := range root.Commands() {
		checkArgs(c)
	}
	return root
}

// checkArgs makes a wrong number of arguments a usage error, for the exit code.
func checkArgs(c *cobra.Command) {
	if rule := c.Args; rule != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := rule(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	if c.HasSubCommands() && !c.Runnable() {
		// cobra prints the help and calls it a success, which a script takes for one.
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0])}
			}
			return cmd.Help()
		}
	}
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
}

// load builds the effective configuration; extra are a command's own flags, by key.
func (g *global) load(extra map[string]string) (config.Config, []config.Value, error) {
	flags := map[string]string{}
	for _, s := range g.set {
		k, v, ok := strings.Cut(s, "=")
		if !ok {
			return config.Config{}, nil, usageError{fmt.Errorf("--set %q: want key=value", s)}
		}
		flags[k] = v
	}
	if g.dir != "" {
		flags["dir"] = g.dir
	}
	for k, v := range extra {
		if v != "" {
			flags[k] = v
		}
	}
	return config.Load(config.Sources{File: g.file, Flags: flags})
}

// with connects to the gateway, runs f and disconnects.
func (g *global) with(cmd *cobra.Command, f func(c *app.Client) error) (err error) {
	conf, _, err := g.load(nil)
	if err != nil {
		return err
	}
	if !dirExists(conf.Dir) {
		fmt.Fprintf(cmd.ErrOrStderr(), "note: no gateway has run in %s, a new folder is made; --dir names another\n", conf.Dir)
	}
	client, err := app.Connect(cmd.Context(), conf)
	if err != nil {
		return err
	}
	defer func() {
		if e := client.Close(); err == nil {
			err = e
		}
	}()
	return f(client)
}

// show prints v as JSON, or by text when the format is text.
func (g *global) show(cmd *cobra.Command, v any, text func(w io.Writer)) error {
	if g.format == "json" {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	text(cmd.OutOrStdout())
	return nil
}

// refusal turns a verdict that does not promote into an error with exit code 3,
// and a judgement that failed into one with exit code 1.
func refusal(v driftgate.Verdict, reasons []string) error {
	switch v {
	case driftgate.Promote:
		return nil
	case driftgate.Errored:
		return fmt.Errorf("%s: %s", v, strings.Join(slices.Compact(reasons), "; "))
	}
	return fmt.Errorf("%s: %s: %w", v, strings.Join(slices.Compact(reasons), "; "), driftgate.ErrRefused)
}
