package dashboards

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

type panel struct {
	Type        string
	Title       string
	Description string
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []struct{ Expr string }
}

func overview(t *testing.T) (panels []panel, body string) {
	t.Helper()
	b, err := Files.ReadFile("overview.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		UID        string
		Panels     []panel
		Templating struct{ List []struct{ Name string } }
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
	}
	if d.UID != "driftgate-overview" || strings.Join(names, " ") != "datasource model window" {
		t.Errorf("dashboard %q with the variables %v", d.UID, names)
	}
	for _, p := range d.Panels {
		if p.Type != "row" {
			panels = append(panels, p)
		}
	}
	return panels, string(b)
}

func TestEveryPanelSaysWhatItMeans(t *testing.T) {
	panels, _ := overview(t)
	if len(panels) < 15 {
		t.Fatalf("%d panels, want at least 15", len(panels))
	}
	for _, p := range panels {
		if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q: description %q, unit %q, %d queries", p.Title, p.Description, p.FieldConfig.Defaults.Unit, len(p.Targets))
		}
	}
}

func TestEveryQueryIsPromQL(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not on PATH: the queries were not parsed here")
	}
	panels, _ := overview(t)
	var rules strings.Builder
	rules.WriteString("groups:\n- name: panels\n  rules:\n")
	n := 0
	for _, p := range panels {
		for _, q := range p.Targets {
			expr := strings.NewReplacer("$model", "garments", "$window", "24h").Replace(q.Expr)
			fmt.Fprintf(&rules, "  - record: panel:query:%d\n    expr: %q\n", n, expr)
			n++
		}
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "check", "rules", path).CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
}

func TestTheDashboardNamesNoMachine(t *testing.T) {
	_, body := overview(t)
	for _, word := range []string{"localhost", "127.0.0.1", "/home/", "/root/"} {
		if strings.Contains(body, word) {
			t.Errorf("overview.json names %s", word)
		}
	}
}
