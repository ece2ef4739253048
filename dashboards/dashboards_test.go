package dashboards

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type panel struct {
	Type        string
	Title       string
	Description string
	GridPos     struct{ X, Y, W, H int }
	Datasource  struct{ UID string }
	FieldConfig struct {
		Defaults struct{ Unit, NoValue string }
	}
	Targets []struct {
		Expr, RefID string
		Datasource  struct{ UID string }
	}
	Links []struct{ Title, URL string }
}

type dashboard struct {
	ID            any
	UID, Title    string
	SchemaVersion int
	Timezone      string
	Panels        []panel
	Links         []struct{ Title, URL string }
	Annotations   struct {
		List []struct {
			Name, Expr string
			Datasource struct{ UID string }
		}
	}
	Templating struct {
		List []struct {
			Name, Type, Description string
			Query                   any
		}
	}
}

// uids are the dashboards by their file; alerts link to them.
var uids = map[string]string{
	"overview.json": "driftgate-overview", "models.json": "driftgate-models", "operations.json": "driftgate-operations",
}

func read(t *testing.T, file string) (d dashboard, body string) {
	t.Helper()
	b, err := Files.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	d.Panels = slices.DeleteFunc(d.Panels, func(p panel) bool { return p.Type == "row" })
	return d, string(b)
}

// each runs a test on every dashboard.
func each(t *testing.T, test func(t *testing.T, d dashboard, body string)) {
	for file := range uids {
		t.Run(file, func(t *testing.T) {
			d, body := read(t, file)
			test(t, d, body)
		})
	}
}

func TestEveryFileInTheFolderIsEmbedded(t *testing.T) {
	files, err := filepath.Glob("*.json")
	if err != nil || len(files) != len(uids) {
		t.Errorf("%v, %v: want %d dashboards", files, err, len(uids))
	}
}

func TestEveryDashboardFollowsWhoLooksAndNamesNoDatabaseID(t *testing.T) {
	each(t, func(t *testing.T, d dashboard, body string) {
		var names []string
		for _, v := range d.Templating.List {
			names = append(names, v.Name)
			if v.Description == "" {
				t.Errorf("variable %s has no description", v.Name)
			}
		}
		for file, uid := range uids {
			if strings.Contains(body, `"uid": "`+uid+`"`) != (uid == d.UID) || uids[file] == d.UID && d.ID != nil {
				t.Errorf("%s has the uid %q and the id %v", file, d.UID, d.ID)
			}
		}
		if want := "datasource instance model window gateway runbooks"; strings.Join(names, " ") != want {
			t.Errorf("variables %v, want %s", names, want)
		}
		for _, a := range d.Annotations.List {
			if a.Datasource.UID != "${datasource}" || a.Expr == "" {
				t.Errorf("annotation %q has the data source %q and the query %q", a.Name, a.Datasource.UID, a.Expr)
			}
		}
		if len(d.Annotations.List) != 3 || d.Timezone != "utc" || d.SchemaVersion < 42 {
			t.Errorf("%d annotations, time zone %q, schema %d", len(d.Annotations.List), d.Timezone, d.SchemaVersion)
		}
	})
}

func TestEveryPanelSaysWhatItMeans(t *testing.T) {
	each(t, func(t *testing.T, d dashboard, _ string) {
		if len(d.Panels) < 15 {
			t.Fatalf("%d panels, want at least 15", len(d.Panels))
		}
		seen := map[string]bool{}
		for _, p := range d.Panels {
			f := p.FieldConfig.Defaults
			if p.Title == "" || !strings.HasSuffix(p.Description, ".") || f.Unit == "" || f.NoValue == "" || len(p.Targets) == 0 || seen[p.Title] {
				t.Errorf("panel %q: description %q, unit %q, no value %q, %d queries, its title seen before: %v", p.Title, p.Description, f.Unit, f.NoValue, len(p.Targets), seen[p.Title])
			}
			seen[p.Title] = true
			if g := p.GridPos; g.W < 3 || g.H < 4 || g.X+g.W > 24 {
				t.Errorf("panel %q lies at %+v", p.Title, g)
			}
			refs := map[string]bool{}
			for _, q := range p.Targets {
				if p.Datasource.UID != "${datasource}" || q.Datasource.UID != "${datasource}" || refs[q.RefID] {
					t.Errorf("panel %q, query %s: data sources %q and %q, its letter seen before: %v", p.Title, q.RefID, p.Datasource.UID, q.Datasource.UID, refs[q.RefID])
				}
				refs[q.RefID] = true
			}
		}
	})
}

var (
	span     = regexp.MustCompile(`\[([^\]]*)\]`)
	selector = regexp.MustCompile(`\b(driftgate_\w+|http_request\w+|go_\w+)(\{[^}]*\})?`)
	ratioSum = regexp.MustCompile(`\bavg.*_ratio`)
)

// faults names what a query may not do.
func faults(expr string) (found []string) {
	for _, m := range span.FindAllStringSubmatch(expr, -1) {
		if m[1] != "$__rate_interval" && m[1] != "$__range" {
			found = append(found, "a fixed span ["+m[1]+"]")
		}
	}
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		if !strings.Contains(m[2], `instance=~"$instance"`) {
			found = append(found, m[1]+" ignores $instance")
		}
	}
	if ratioSum.MatchString(expr) {
		found = append(found, "an average of ratios")
	}
	return found
}

func TestEveryQueryFollowsTheVariables(t *testing.T) {
	each(t, func(t *testing.T, d dashboard, _ string) {
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				for _, f := range faults(q.Expr) {
					t.Errorf("panel %q: %s: %s", p.Title, f, q.Expr)
				}
			}
		}
		for _, a := range d.Annotations.List {
			for _, f := range faults(a.Expr) {
				t.Errorf("annotation %q: %s: %s", a.Name, f, a.Expr)
			}
		}
	})
	for _, wrong := range []string{
		`rate(driftgate_predictions_total{instance=~"$instance"}[5m])`, `sum(driftgate_predictions_total)`,
		`avg by (model) (driftgate_production_accuracy_ratio{instance=~"$instance"})`,
	} {
		if len(faults(wrong)) != 1 {
			t.Errorf("%s passes", wrong)
		}
	}
}

func TestEveryQueryIsPromQL(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not on PATH: the queries were not parsed here")
	}
	fill := strings.NewReplacer("$model", "garments", "$window", "24h", "$instance", ".+", "$__rate_interval", "1m", "$__range", "7d")
	each(t, func(t *testing.T, d dashboard, _ string) {
		var rules strings.Builder
		rules.WriteString("groups:\n- name: panels\n  rules:\n")
		var all []string
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				all = append(all, q.Expr)
			}
		}
		for _, a := range d.Annotations.List {
			all = append(all, a.Expr)
		}
		for n, expr := range all {
			fmt.Fprintf(&rules, "  - record: panel:query:%d\n    expr: %q\n", n, fill.Replace(expr))
		}
		path := filepath.Join(t.TempDir(), "rules.yml")
		if err := os.WriteFile(path, []byte(rules.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(promtool, "check", "rules", path).CombinedOutput(); err != nil {
			t.Errorf("promtool check rules: %v\n%s", err, out)
		}
	})
}

// TestEveryRunbookLinkLeadsToAnAlert compares the panels' links with the
// addresses that the rules carry.
func TestEveryRunbookLinkLeadsToAnAlert(t *testing.T) {
	rules, err := os.ReadFile("../alerts/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	base := ""
	for _, m := range regexp.MustCompile(`runbook_url: "?([^"#\s]+)#([a-z0-9-]+)`).FindAllStringSubmatch(string(rules), -1) {
		base, anchors[m[2]] = m[1], true
	}
	if len(anchors) < 5 {
		t.Fatalf("only %d runbooks are named in rules.yml", len(anchors))
	}
	each(t, func(t *testing.T, d dashboard, _ string) {
		links := 0
		for _, p := range d.Panels {
			for _, l := range p.Links {
				section, isRunbook := strings.CutPrefix(l.URL, "${runbooks}#")
				if isRunbook && !anchors[section] {
					t.Errorf("panel %q links to the runbook %q, which no alert has", p.Title, section)
				}
				if !isRunbook && !strings.HasPrefix(l.URL, "${gateway}/") {
					t.Errorf("panel %q links to %s", p.Title, l.URL)
				}
				links++
			}
		}
		if links < 4 || len(d.Links) < 4 {
			t.Errorf("%d links of panels, %d of the dashboard", links, len(d.Links))
		}
		for _, v := range d.Templating.List {
			if v.Name == "runbooks" && v.Query != base {
				t.Errorf("runbooks are at %v here, at %s in rules.yml", v.Query, base)
			}
		}
	})
	for file, uid := range uids {
		if !strings.Contains(string(rules), "/"+uid) {
			t.Logf("no alert links to %s", file)
		}
	}
	for _, m := range regexp.MustCompile(`dashboard_url: "?\S+?/d/([a-z-]+)`).FindAllStringSubmatch(string(rules), -1) {
		known := false
		for _, uid := range uids {
			known = known || uid == m[1]
		}
		if !known {
			t.Errorf("rules.yml links to the dashboard %s, which is none", m[1])
		}
	}
}

func TestTheDashboardsNameNoMachine(t *testing.T) {
	each(t, func(t *testing.T, _ dashboard, body string) {
		for _, word := range []string{"localhost", "127.0.0.1", "/home/", "/root/"} {
			if strings.Contains(body, word) {
				t.Errorf("names %s", word)
			}
		}
	})
}
