package config

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"
)

// Reference is docs/configuration.md: every setting with its environment
// variable, its default and its meaning, from the same tags that Load reads.
func Reference() string {
	var b strings.Builder
	b.WriteString(`# Configuration

Generated from internal/config by ` + "`go test ./internal/config -run Reference -update`" + `; do not edit.

One YAML file (` + "`--config FILE`" + `), strict: unknown keys and all mistakes are reported at once, with line numbers.
A key such as ` + "`s3.endpoint`" + ` is ` + "`endpoint:`" + ` under ` + "`s3:`" + ` in the file, ` + "`--set s3.endpoint=...`" + ` as a flag.
A flag wins over the environment, the environment over the file, the file over the default; OpenTelemetry's own ` + "`OTEL_*`" + ` variables win over the default only.
` + "`driftgate config`" + ` prints what holds and where each value came from, secrets masked.
` + "`POST /-/reload`" + ` with the token, or SIGHUP, reads it all again: settings marked so take effect at once, the others are named as needing a restart, and a mistake anywhere changes nothing.
Durations are written as 90s, 30m, 24h or 7d, lists with commas.

`)
	c := Default()
	section := "-"
	for _, f := range leavesOf(reflect.ValueOf(&c).Elem(), "") {
		head, _, nested := strings.Cut(f.key, ".")
		if !nested {
			head = ""
		}
		if head != section {
			section = head
			title := "General"
			if head != "" {
				title = head
			}
			fmt.Fprintf(&b, "\n## %s\n\n| key | environment | default | meaning |\n|---|---|---|---|\n", title)
		}
		names := "`" + EnvName(f.key) + "`"
		if other := cmp.Or(legacy[f.key], standard[f.key]); other != "" {
			names += " or `" + other + "`"
		}
		value := render(f.value)
		if value != "" {
			value = "`" + value + "`"
		}
		doc := f.doc
		if Live(f.key) {
			doc += " (taken over on a reload)"
		}
		if f.secret {
			doc += " (secret: masked wherever it is shown)"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.key, names, value, strings.ReplaceAll(doc, "|", `\|`))
	}
	return b.String()
}
