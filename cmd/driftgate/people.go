package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"driftgate"
	"driftgate/internal/app"
	"driftgate/internal/demo"

	"github.com/spf13/cobra"
)

// newDemoPeople lends the demo's users and annotators to a gateway of one's own.
func newDemoPeople(g *global) *cobra.Command {
	var c demo.Crowd
	cmd := &cobra.Command{
		Use:   "people",
		Short: "play users and annotators against the gateway that owns --dir",
		Long: `Plays users and annotators against a running gateway whose model knows garments
(driftgate ingest synthetic), through the doors that everybody uses: pictures are
uploaded to /predict, some wrong answers are flagged or corrected, and the
labelling tasks about them are answered, two in a hundred wrongly. It holds the
truth of the pictures and no other privilege. With --turned the pictures arrive
on their side, which a model trained on upright ones has never seen.

What each picture showed is kept in demo-people.csv in --dir, so that a later
call can still answer for it.`,
		Example: `  driftgate demo people --for 1m
  driftgate demo people --for 1m --turned    # and now the world drifts`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			conf, _, err := g.load(nil)
			if err != nil {
				return err
			}
			run, err := app.ReadRunFile(conf.Dir)
			if errors.Is(err, driftgate.ErrNotFound) {
				return fmt.Errorf("no gateway listens on %s: start driftgate serve, or name its --dir: %w", conf.Dir, driftgate.ErrNotFound)
			} else if err != nil {
				return err
			}
			if c.Client, err = run.Client(); err != nil {
				return err
			}
			if c.Seed == 0 {
				c.Seed = uint64(time.Now().UnixNano())
			}
			c.Notes, c.Out = filepath.Join(conf.Dir, "demo-people.csv"), cmd.OutOrStdout()
			return c.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.DurationVar(&c.For, "for", 30*time.Second, "how long they upload; they label on until everything asked is answered")
	f.Float64Var(&c.Rate, "rate", 10, "pictures a second, at most 40")
	f.BoolVar(&c.Turned, "turned", false, "the pictures arrive turned by 90 degrees: the world has drifted")
	f.Uint64Var(&c.Seed, "seed", 0, "seed of the pictures; 0 draws new ones each time")
	return cmd
}

// newDemoPicture draws something to upload for who has no photo at hand.
func newDemoPicture() *cobra.Command {
	var class string
	var turned bool
	var seed uint64
	c := &cobra.Command{
		Use:     "picture FILE",
		Short:   "draw one garment as a PNG, to have something to upload",
		Example: "  driftgate demo picture boot.png --class \"Ankle boot\"\n  driftgate predict boot.png",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			png, err := demo.Picture(class, turned, seed)
			if err != nil {
				return err
			}
			return os.WriteFile(args[0], png, 0o644)
		},
	}
	c.Flags().StringVar(&class, "class", "Ankle boot", "what it shows")
	c.Flags().BoolVar(&turned, "turned", false, "turned by 90 degrees")
	c.Flags().Uint64Var(&seed, "seed", 1, "another seed, another one of the kind")
	return c
}
