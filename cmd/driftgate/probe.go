package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"driftgate"
	"driftgate/internal/app"

	"github.com/spf13/cobra"
)

// probeTimeout bounds one question of a container's health check, and is well
// below what container engines allow it.
const probeTimeout = 3 * time.Second

// withProbe gives check the two questions that a container's health check asks,
// in an image that has no shell and no curl.
func withProbe(g *global, check *cobra.Command) *cobra.Command {
	var healthy, ready bool
	check.Flags().BoolVar(&healthy, "healthy", false, "ask only whether the gateway that owns --dir answers")
	check.Flags().BoolVar(&ready, "ready", false, "ask only whether it serves a verified model")
	check.MarkFlagsMutuallyExclusive("healthy", "ready")
	everything := check.RunE
	check.RunE = func(cmd *cobra.Command, args []string) error {
		answer := "healthy"
		switch {
		case ready:
			answer = "ready"
		case !healthy:
			return everything(cmd, args)
		}
		conf, _, err := g.load(nil)
		if err != nil {
			return err
		}
		if err := probe(cmd.Context(), conf.Dir, "/-/"+answer); err != nil {
			return err
		}
		return g.show(cmd, map[string]string{"state": answer}, func(w io.Writer) { fmt.Fprintln(w, answer) })
	}
	return check
}

// probe asks the gateway that owns dir for path (/-/healthy or /-/ready). It
// never starts one: a health check that starts what it checks proves nothing.
// The error says what the gateway answered.
func probe(ctx context.Context, dir, path string) error {
	run, err := app.ReadRunFile(dir)
	if errors.Is(err, driftgate.ErrNotFound) {
		return fmt.Errorf("no gateway listens on %s (its run.json is missing): start driftgate serve, or name its --dir: %w", dir, driftgate.ErrNotFound)
	} else if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(run.Address, "/")+path, nil)
	if err != nil {
		return fmt.Errorf("check: address %q in run.json: %w", run.Address, err)
	}
	// The certificate names the outside world's host, run.json an address of this
	// machine; no secret is sent.
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
	}}
	answer, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("check: gateway with process id %d: %w", run.PID, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err != nil {
		return fmt.Errorf("check: %s%s: %w", run.Address, path, err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("check: %s%s answers %d: %s", run.Address, path, answer.StatusCode, strings.TrimSpace(string(text)))
	}
	return nil
}
