package alerts_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"driftgate/alerts"
	"driftgate/dashboards"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
	"driftgate/internal/pipeline"
	"driftgate/internal/serving"
	"driftgate/internal/trigger"
	"driftgate/metrics"
)

// described is a Registerer that notes the names of what is registered, series
// or not.
type described struct{ names map[string]bool }

var descName = regexp.MustCompile(`fqName: "([^"]+)"`)

func (d described) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc)
	go func() { c.Describe(ch); close(ch) }()
	for desc := range ch {
		if m := descName.FindStringSubmatch(desc.String()); m != nil {
			d.names[m[1]] = true
		}
	}
	return nil
}
func (d described) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		_ = d.Register(c)
	}
}
func (d described) Unregister(prometheus.Collector) bool { return false }

// exported are the series of the parts that rules and dashboards look at.
func exported(t *testing.T) map[string]bool {
	t.Helper()
	d := described{map[string]bool{}}
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	d.MustRegister(metrics.New(metrics.Options{Model: "garments"}, l))
	trigger.New(l, trigger.Options{Registerer: d})
	pipeline.New(pipeline.Deps{}, pipeline.Options{Registerer: d})
	ended, end := context.WithCancel(t.Context())
	end()
	if err := metrics.RunStatsD(ended, prometheus.NewRegistry(), metrics.StatsDOptions{Address: "127.0.0.1:9", Registerer: d}); err != nil {
		t.Fatal(err)
	}
	if _, err := serving.New(serving.Options{Dir: t.TempDir(), Registerer: d}, noStore{}, l, objstore.DefaultBuckets("")); err != nil {
		t.Fatal(err)
	}
	// The others need more of a gateway than stands here: their own sources say
	// what they register.
	err = filepath.WalkDir("../internal", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range ownName.FindAllStringSubmatch(string(source), -1) {
			d.names[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d.names
}

// ownName is a name in the options of a series, or before its help in a call
// that makes them.
var ownName = regexp.MustCompile(`(?:Name:\s+|\w\()"(driftgate_[a-z_]+)",\s`)

type noStore struct{ serving.ObjectStore }

// word is a name in PromQL that could be a series of ours.
var word = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*driftgate_[a-z0-9_:]+|driftgate_[a-z0-9_]+`)

// missing lists the names in text that nobody exports or records.
func missing(text string, exported, recorded map[string]bool) (unknown []string, found int) {
	for _, name := range word.FindAllString(text, -1) {
		found++
		base := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if !exported[name] && !exported[base] && !recorded[name] {
			unknown = append(unknown, name)
		}
	}
	return unknown, found
}

var (
	recordLine = regexp.MustCompile(`(?m)^\s*- record: (\S+)$`)
	groupLine  = regexp.MustCompile(`(?m)^\s*- name: .*$`)
)

func TestEverySeriesNamedInRulesAndDashboardsIsExported(t *testing.T) {
	names := exported(t)
	if len(names) < 20 {
		t.Fatalf("only %d series are exported: the test would prove little", len(names))
	}
	rules, err := alerts.Files.ReadFile("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	recorded := map[string]bool{}
	for _, m := range recordLine.FindAllStringSubmatch(string(rules), -1) {
		recorded[m[1]] = true
	}
	texts := map[string]string{"rules.yml": groupLine.ReplaceAllString(string(rules), "")}
	for name, board := range boards(t) {
		texts[name] = queries(t, board)
	}
	for file, text := range texts {
		unknown, found := missing(text, names, recorded)
		if len(unknown) > 0 || found < 10 {
			t.Errorf("%s names %d series, and nobody exports %v", file, found, unknown)
		}
	}
	if unknown, _ := missing("rate(driftgate_no_such_thing_total[5m])", names, recorded); len(unknown) != 1 {
		t.Error("a made-up series passes")
	}
}

// boards are the dashboards that ship.
func boards(t *testing.T) map[string][]byte {
	t.Helper()
	names, err := fs.Glob(dashboards.Files, "*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("found dashboards %v: %v", names, err)
	}
	all := map[string][]byte{}
	for _, name := range names {
		if all[name], err = dashboards.Files.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// queries collects every expression and variable query of a dashboard.
func queries(t *testing.T, board []byte) string {
	t.Helper()
	var all []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, inner := range v {
				if text, ok := inner.(string); ok && (key == "expr" || key == "query" || key == "definition") {
					all = append(all, text)
				}
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	var v any
	if err := json.Unmarshal(board, &v); err != nil {
		t.Fatal(err)
	}
	walk(v)
	return strings.Join(all, "\n")
}
