package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"driftgate/internal/app"

	"github.com/spf13/cobra"
)

func newPredict(g *global) *cobra.Command {
	return &cobra.Command{
		Use:     "predict PATH...",
		Short:   "classify image files through the gateway; each is captured as any upload",
		Example: "  driftgate predict shoe.jpg bag.png",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			files := make([]string, len(args)) // a gateway that is started for this command changes the directory
			for i, path := range args {
				var err error
				if files[i], err = filepath.Abs(path); err != nil {
					return err
				}
			}
			return g.with(cmd, func(c *app.Client) error {
				for i, path := range args {
					if err := g.predict(cmd, c, path, files[i]); err != nil {
						return fmt.Errorf("%s: %w", path, err)
					}
				}
				return nil
			})
		},
	}
}

// predict classifies one file, which people call path.
func (g *global) predict(cmd *cobra.Command, c *app.Client, path, file string) error {
	image, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	in := map[string]string{"image": base64.StdEncoding.EncodeToString(image)}
	var out json.RawMessage
	err = waitForModel(cmd.Context(), func() error { return c.Post(cmd.Context(), "/predict", in, &out) })
	if err != nil {
		return err
	}
	var p struct {
		Prediction  string  `json:"prediction"`
		Probability float64 `json:"probability"`
		Key         string  `json:"key"`
	}
	if err := json.Unmarshal(out, &p); err != nil {
		return err
	}
	return g.show(cmd, out, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %s  %.1f%%  %s\n", path, p.Prediction, 100*p.Probability, p.Key)
	})
}

// waitForModel gives a gateway that has just started the moment it needs to
// load its champion.
func waitForModel(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return app.Retry(ctx, 200*time.Millisecond, f)
}
