// Command gen writes driftgate's Grafana dashboards to the folder above.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// boards are the dashboards by the name of their file.
var boards = map[string]func() *dashboard.DashboardBuilder{
	"overview.json":   overview,
	"models.json":     models,
	"operations.json": operations,
}

func main() {
	if err := run(".."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	for file, build := range boards {
		body, err := render(build())
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), body, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render builds a dashboard and reads it back strictly: what Grafana's schema
// does not know is an error here, not a blank panel there.
func render(b *dashboard.DashboardBuilder) ([]byte, error) {
	d, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	var again dashboard.Dashboard
	if err := again.UnmarshalJSONStrict(out.Bytes()); err != nil {
		return nil, fmt.Errorf("read back: %w", err)
	}
	return out.Bytes(), nil
}
