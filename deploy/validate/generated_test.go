package validate

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const notice = "# Made from %s by `go test -run Generated -update .` in deploy/validate; do not edit.\n"

// addresses turns those of one machine into Compose's.
var addresses = strings.NewReplacer(
	"127.0.0.1:8080", "driftgate:8080",
	"127.0.0.1:9090", "prometheus:9090",
	"127.0.0.1:9093", "alertmanager:9093",
	"127.0.0.1:9102", "statsd-exporter:9102",
)

func composed(source []byte) ([]byte, error) { return []byte(addresses.Replace(string(source))), nil }

// ruled wraps Prometheus rules as the operator's resource.
func ruled(source []byte) ([]byte, error) {
	var spec map[string]any
	if err := yaml.UnmarshalStrict(source, &spec); err != nil {
		return nil, err
	}
	return yaml.Marshal(map[string]any{
		"apiVersion": "monitoring.coreos.com/v1",
		"kind":       "PrometheusRule",
		"metadata":   map[string]any{"name": "driftgate"},
		"spec":       spec,
	})
}

func TestGeneratedFilesAreUpToDate(t *testing.T) {
	for _, f := range []struct {
		path, from string
		make       func([]byte) ([]byte, error)
	}{
		{"deploy/compose/prometheus.yml", "deploy/prometheus.yml", composed},
		{"deploy/compose/alertmanager.yml", "deploy/alertmanager.yml", composed},
		{"deploy/compose/grafana-datasource.yml", "deploy/grafana/provisioning/datasources/prometheus.yml", composed},
		{"deploy/kubernetes/base/prometheusrule.yaml", "alerts/rules.yml", ruled},
	} {
		text, err := f.make(read(t, f.from))
		if err != nil {
			t.Fatalf("%s: %v", f.from, err)
		}
		want := append([]byte(strings.Replace(notice, "%s", f.from, 1)), text...)
		path := filepath.Join(repository, f.path)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is behind %s: go test -run Generated -update . in deploy/validate", f.path, f.from)
		}
		if strings.Contains(string(got), "127.0.0.1") {
			t.Errorf("%s: an address of the container itself is left: give addresses in generated_test.go its name", f.path)
		}
	}
}
