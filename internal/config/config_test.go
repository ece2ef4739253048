package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"driftgate"
)

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "driftgate.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func none(string) (string, bool) { return "", false }

func TestDefaultsAreValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestThreeMistakesAreReportedAtOnceWithTheirLines(t *testing.T) {
	path := write(t, `model: garments
curate:
  every: 30m
  treshold: 0.8
alarm:
  tolerance: 2
metrics:
  min_labels: many
`)
	_, _, err := Load(Sources{File: path, Lookup: none})
	if !errors.Is(err, driftgate.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		"3 mistakes",
		path + ":4: unknown key curate.treshold; did you mean curate.threshold?",
		path + ":6: alarm.tolerance: 2: want 0 to 1, not a percentage",
		path + `:8: metrics.min_labels: "many": want a whole number`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
}

func TestPrecedenceIsFlagEnvironmentFileDefault(t *testing.T) {
	path := write(t, "http:\n  listen: 127.0.0.1:1\nmodel: file\nlog:\n  level: warn\n")
	env := map[string]string{"DRIFTGATE_HTTP_LISTEN": "127.0.0.1:2", "DRIFTGATE_MODEL": "env"}
	c, values, err := Load(Sources{
		File:   path,
		Lookup: func(k string) (string, bool) { v, ok := env[k]; return v, ok },
		Flags:  map[string]string{"http.listen": "127.0.0.1:3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTP.Listen != "127.0.0.1:3" || c.Model != "env" || c.Log.Level != "warn" || c.Log.Format != "text" {
		t.Errorf("got %+v %q %+v", c.HTTP, c.Model, c.Log)
	}
	source := map[string]string{}
	for _, v := range values {
		source[v.Key] = v.Source
		if v.Doc == "" {
			t.Errorf("%s has no description", v.Key)
		}
	}
	for key, want := range map[string]string{"http.listen": "flag", "model": "env DRIFTGATE_MODEL", "log.level": path + ":5", "log.format": "default"} {
		if source[key] != want {
			t.Errorf("%s came from %q, want %q", key, source[key], want)
		}
	}
}

func TestOldVariablesAreUnderstoodAndSecretsMasked(t *testing.T) {
	env := map[string]string{"MINIO_URL": "minio:9000", "MINIO_USER": "u", "MINIO_PASSWORD": "hunter2hunter2"}
	c, values, err := Load(Sources{Lookup: func(k string) (string, bool) { v, ok := env[k]; return v, ok }})
	if err != nil {
		t.Fatal(err)
	}
	if c.S3.Endpoint != "http://minio:9000" || c.S3.SecretKey != "hunter2hunter2" {
		t.Errorf("got %+v", c.S3)
	}
	if strings.Contains(fmt.Sprint(values), "hunter2") {
		t.Error("the secret is shown")
	}
}

func TestFileShapesThatAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"not YAML":             "a: [",
		"a list at the top":    "- a\n",
		"a section as a value": "curate: 5\n",
		"a key twice":          "model: a\nmodel: b\n",
		"a map for a value":    "model:\n  name: x\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := Load(Sources{File: write(t, text), Lookup: none}); !errors.Is(err, driftgate.ErrInvalid) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, _, err := Load(Sources{File: "/no/such/file", Lookup: none}); !errors.Is(err, driftgate.ErrInvalid) {
		t.Errorf("missing file: %v", err)
	}
}

func TestListsAndDays(t *testing.T) {
	c, _, err := Load(Sources{File: write(t, "metrics:\n  windows: [1h, 7d]\ntrain:\n  hidden: [64]\n"), Lookup: none})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Metrics.Windows) != 2 || c.Metrics.Windows[1] != 7*24*time.Hour || len(c.Train.Hidden) != 1 {
		t.Errorf("got %v %v", c.Metrics.Windows, c.Train.Hidden)
	}
}

func TestOpenTelemetrysVariablesFillWhatIsUnset(t *testing.T) {
	file := write(t, "otel:\n  service_name: mine\n")
	env := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://theirs:4318", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=hush", "OTEL_SERVICE_NAME": "theirs",
		"OTEL_TRACES_SAMPLER_ARG": "0.25", "OTEL_EXPORTER_OTLP_PROTOCOL": "",
	}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	c, values, err := Load(Sources{File: file, Lookup: lookup})
	if err != nil {
		t.Fatal(err)
	}
	if want := (OTel{Endpoint: "http://theirs:4318", Protocol: "http/protobuf", Headers: "authorization=hush", SampleRatio: 0.25, Service: "mine"}); c.OTel != want {
		t.Errorf("got %+v, want %+v", c.OTel, want)
	}
	for _, v := range values {
		if strings.Contains(v.Value, "hush") {
			t.Errorf("%s shows a secret: %s", v.Key, v.Value)
		}
	}
	env["DRIFTGATE_OTEL_ENDPOINT"] = ""
	if c, _, err := Load(Sources{Lookup: lookup}); err != nil || c.OTel.Endpoint != "" {
		t.Errorf("switched off by driftgate's own variable: %q, %v", c.OTel.Endpoint, err)
	}
	delete(env, "DRIFTGATE_OTEL_ENDPOINT")
	env["OTEL_SDK_DISABLED"] = "true"
	if c, _, err := Load(Sources{Lookup: lookup}); err != nil || c.OTel.Endpoint != "" {
		t.Errorf("switched off by OTEL_SDK_DISABLED: %q, %v", c.OTel.Endpoint, err)
	}
	env = map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_SAMPLER_ARG": "50",
		"OTEL_EXPORTER_OTLP_HEADERS": "hush"}
	_, _, err = Load(Sources{Lookup: lookup})
	for _, want := range []string{"4 mistakes", "env OTEL_EXPORTER_OTLP_ENDPOINT: otel.endpoint: want http://", "gRPC is not spoken", "otel.sample_ratio: 50", "otel.headers: want name=value"} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("got %v\nwant %q, and no secret", err, want)
		}
	}
}
