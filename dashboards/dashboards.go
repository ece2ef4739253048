// Package dashboards holds driftgate's Grafana dashboards as JSON, ready to be
// provisioned. They are generated: change gen and run `make dashboards`, never
// the JSON. The generator is a module of its own, so that Grafana's SDK is
// nobody else's dependency.
package dashboards

import "embed"

// Files holds overview.json: is production accuracy inside its promise, how
// sure are we, and what is the loop doing?
//
//go:embed overview.json
var Files embed.FS
