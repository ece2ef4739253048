package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"

	"driftgate/internal/app"
	"driftgate/internal/config"
	"driftgate/internal/demo"
	"driftgate/internal/kernel"
	"driftgate/trainer"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

func newServe(g *global) *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "serve",
		Short: "run the gateway: predictions, labelling, metrics, alarm, retraining",
		Example: `  driftgate serve
  driftgate serve --listen 127.0.0.1:9000 --dir /var/lib/driftgate
  driftgate serve --config driftgate.yml      # with s3.endpoint the embedded store is not started`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, _, err := g.load(map[string]string{"http.listen": listen})
			if err != nil {
				return err
			}
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			// The embedded store changes the working directory.
			if g.file != "" {
				if g.file, err = filepath.Abs(g.file); err != nil {
					return err
				}
			}
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP)
			defer signal.Stop(hangup)
			log, level := logger(conf.Log)
			a, err := app.New(cmd.Context(), app.Options{Config: conf, Logger: log, Level: level, Version: version, Exe: exe,
				Load: func() (config.Config, error) {
					c, _, err := g.load(map[string]string{"http.listen": listen})
					return c, err
				}})
			if err != nil {
				return err
			}
			announce(cmd.ErrOrStderr(), a)
			go reloadOn(cmd.Context(), hangup, a)
			return a.Run(cmd.Context())
		},
	}
	c.Flags().StringVar(&listen, "listen", "", "address and port (default 127.0.0.1:8080)")
	return c
}

// reloadOn reads the configuration again on each signal; the log says what
// came of it.
func reloadOn(ctx context.Context, hangup <-chan os.Signal, a *app.App) {
	for {
		select {
		case <-hangup:
			_, _ = a.Reload(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func announce(w io.Writer, a *app.App) {
	fmt.Fprintf(w, "driftgate %s on %s\n", version, a.Address())
	if a.FreshToken() {
		fmt.Fprintf(w, "token %s (made now, kept in the folder's token file, shown this once)\nsign in at %s\n", a.Token(), a.SignIn("/accuracy"))
	}
}

// logger writes to standard error; its level may be moved while it is used.
func logger(c config.Log) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	var at slog.Level
	_ = at.UnmarshalText([]byte(c.Level)) // validated with the configuration
	level.Set(at)
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), level
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options)), level
}

func newDemo(g *global) *cobra.Command {
	o := demo.Options{Version: version}
	c := &cobra.Command{
		Use:   "demo",
		Short: "play the whole loop on this machine, in about two minutes",
		Long: `Plays the whole loop on the embedded defaults, with no other server: trains a
first champion, streams traffic through the real HTTP endpoint, plays the
annotators through the real labelling API, lets the world drift, and shows what
each station does until the accuracy has recovered. The clock runs faster than
the wall's, and says so.`,
		Example: `  driftgate demo
  driftgate demo --dataset fashion-mnist --data ~/fashion-mnist
  driftgate demo --no-drift --seed 3 --exit --report report.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Dataset != "synthetic" && o.Dataset != "fashion-mnist" {
				return usageError{fmt.Errorf("--dataset %q: want synthetic or fashion-mnist", o.Dataset)}
			}
			if (o.Dataset == "fashion-mnist") != (o.Data != "") {
				return usageError{fmt.Errorf("--data DIR goes with --dataset fashion-mnist: the folder with the four IDX files")}
			}
			conf, _, err := g.load(map[string]string{"http.listen": "127.0.0.1:0"})
			if err != nil {
				return err
			}
			conf.Dir = g.dir // empty: a temporary folder
			conf.HTTP.WebConfig = ""
			if o.Exe, err = os.Executable(); err != nil {
				return err
			}
			o.Config, o.Out = conf, cmd.OutOrStdout()
			o.Live = isatty.IsTerminal(os.Stdout.Fd())
			return demo.Run(cmd.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Dataset, "dataset", "synthetic", "synthetic or fashion-mnist")
	f.StringVar(&o.Data, "data", "", "folder with the Fashion-MNIST files")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of the world, the users and the annotators")
	f.BoolVar(&o.NoDrift, "no-drift", false, "let nothing change: no alarm may fire")
	f.BoolVar(&o.Exit, "exit", false, "end with the story instead of serving on")
	f.StringVar(&o.Report, "report", "", "write the figures to this file as JSON")
	c.AddCommand(newDemoPeople(g), newDemoPicture())
	return c
}

// newTrainChild is the training process that the gateway starts.
func newTrainChild() *cobra.Command {
	var quiet bool
	c := &cobra.Command{
		Use:    "train-child",
		Short:  "train one job from standard input (started by the gateway)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A Ctrl-C meant for the gateway reaches the whole process group;
			// the gateway decides when this process ends.
			signal.Ignore(os.Interrupt, syscall.SIGQUIT)
			if quiet {
				slog.SetLogLoggerLevel(slog.LevelWarn)
			}
			if err := trainer.Child(cmd.Context(), os.Stdin, os.Stdout); err != nil {
				return toldError{err}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&quiet, "quiet", false, "log warnings only")
	return c
}

// toldError is an error that was said already where it is heard.
type toldError struct{ error }

func (e toldError) Unwrap() error { return e.error }

func newConfig(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "print the effective configuration and where each value came from",
		Example: `  driftgate config
  DRIFTGATE_CURATE_RANDOM=10 driftgate config --set alarm.years=20`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, values, err := g.load(nil)
			if err != nil {
				return err
			}
			return g.show(cmd, values, func(w io.Writer) {
				t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
				for _, v := range values {
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", v.Key, v.Value, v.Source, v.Doc)
				}
				t.Flush()
			})
		},
	}
}

func newVersion(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version of this binary, and how it computes here",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := kernel.Active().String()
			return g.show(cmd, map[string]string{"version": version, "kernel": path}, func(w io.Writer) {
				fmt.Fprintf(w, "driftgate %s (%s kernels)\n", version, path)
			})
		},
	}
}
