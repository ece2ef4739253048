// Command gen writes driftgate's Grafana dashboards to the folder above.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	if err := run("../overview.json"); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	body, err := render()
	if err != nil {
		return err
	}
	return os.WriteFile(path, body, 0o644)
}

// render builds the dashboard and reads it back strictly: what Grafana's
// schema does not know is an error here, not a blank panel there.
func render() ([]byte, error) {
	d, err := overview().Build()
	if err != nil {
		return nil, fmt.Errorf("build overview: %w", err)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return nil, fmt.Errorf("encode overview: %w", err)
	}
	var again dashboard.Dashboard
	if err := again.UnmarshalJSONStrict(b.Bytes()); err != nil {
		return nil, fmt.Errorf("read overview back: %w", err)
	}
	return b.Bytes(), nil
}
