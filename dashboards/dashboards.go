// Package dashboards holds driftgate's Grafana dashboards as JSON, ready to be
// provisioned (deploy/grafana). They are generated: change gen and run `make
// dashboards`, never the JSON. The generator is a module of its own, so that
// Grafana's SDK is nobody else's dependency; render, a Node project, draws them
// with Grafana's own libraries against a live Prometheus (`.ci/e2e-full`).
package dashboards

import "embed"

// Files holds the dashboards:
//
//   - overview.json: is production accuracy inside its promise, how sure are
//     we, and what is the loop doing?
//   - models.json: which version serves, how right is each, where is it wrong?
//   - operations.json: does the gateway answer, keep what it saw, run its
//     pipelines?
//
//go:embed overview.json models.json operations.json
var Files embed.FS
