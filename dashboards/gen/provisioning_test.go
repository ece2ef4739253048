package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/goccy/go-yaml"
)

// provider and datasource are the fields of Grafana's provisioning files, as
// its documentation names them ("Provision Grafana"); any other is an error.
type provider struct {
	Name                  string `yaml:"name"`
	OrgID                 int    `yaml:"orgId"`
	Folder                string `yaml:"folder"`
	FolderUID             string `yaml:"folderUid"`
	Type                  string `yaml:"type"`
	DisableDeletion       bool   `yaml:"disableDeletion"`
	UpdateIntervalSeconds int    `yaml:"updateIntervalSeconds"`
	AllowUIUpdates        bool   `yaml:"allowUiUpdates"`
	Options               struct {
		Path                      string `yaml:"path"`
		FoldersFromFilesStructure bool   `yaml:"foldersFromFilesStructure"`
	} `yaml:"options"`
}

type datasource struct {
	Name            string         `yaml:"name"`
	UID             string         `yaml:"uid"`
	Type            string         `yaml:"type"`
	Access          string         `yaml:"access"`
	OrgID           int            `yaml:"orgId"`
	URL             string         `yaml:"url"`
	User            string         `yaml:"user"`
	BasicAuth       bool           `yaml:"basicAuth"`
	BasicAuthUser   string         `yaml:"basicAuthUser"`
	WithCredentials bool           `yaml:"withCredentials"`
	IsDefault       bool           `yaml:"isDefault"`
	JSONData        map[string]any `yaml:"jsonData"`
	SecureJSONData  map[string]any `yaml:"secureJsonData"`
	Version         int            `yaml:"version"`
	Editable        bool           `yaml:"editable"`
}

func strict(body []byte, into any) error {
	return yaml.NewDecoder(bytes.NewReader(body), yaml.DisallowUnknownField()).Decode(into)
}

func provisioning(t *testing.T, path string, into any) {
	t.Helper()
	body, err := os.ReadFile("../../deploy/grafana/provisioning/" + path)
	if err != nil {
		t.Fatal(err)
	}
	if err := strict(body, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if strict(append(body, "\nnoSuchField: 1\n"...), into) == nil {
		t.Fatalf("%s with an unknown field passes", path)
	}
}

func TestGrafanaIsToldWhereTheDashboardsAre(t *testing.T) {
	var f struct {
		APIVersion int        `yaml:"apiVersion"`
		Providers  []provider `yaml:"providers"`
	}
	provisioning(t, "dashboards/driftgate.yml", &f)
	if f.APIVersion != 1 || len(f.Providers) != 1 {
		t.Fatalf("%+v, want version 1 and one provider", f)
	}
	if p := f.Providers[0]; p.Type != "file" || p.Options.Path == "" || p.AllowUIUpdates {
		t.Errorf("%+v: want files that nobody edits in the browser", p)
	}
}

func TestGrafanaIsToldWhichPrometheusToAsk(t *testing.T) {
	var f struct {
		APIVersion  int          `yaml:"apiVersion"`
		Datasources []datasource `yaml:"datasources"`
	}
	provisioning(t, "datasources/prometheus.yml", &f)
	if f.APIVersion != 1 || len(f.Datasources) != 1 {
		t.Fatalf("%+v, want version 1 and one data source", f)
	}
	if d := f.Datasources[0]; d.Type != "prometheus" || d.URL == "" || d.Access != "proxy" || !d.IsDefault || len(d.SecureJSONData) > 0 {
		t.Errorf("%+v: want the default Prometheus, asked by Grafana itself, without a secret in the file", d)
	}
}
