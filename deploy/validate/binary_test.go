package validate

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"
)

// repository is where this module's folder lies in.
const repository = "../.."

var update = flag.Bool("update", false, "write the files that are made from others")

// temporary outlives the tests that share the binary.
var temporary string

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if temporary, err = os.MkdirTemp("", "driftgate-validate-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(temporary)
	os.Exit(code)
}

// build makes the binary as the image has it, once.
var build = sync.OnceValues(func() (string, error) {
	to := filepath.Join(temporary, "driftgate")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, "./cmd/driftgate")
	cmd.Dir, cmd.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return to, nil
})

func binary(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatalf("go build: %v", err)
	}
	return path
}

// read returns a file by its path from the top of the repository.
func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(repository, path))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// decode reads YAML strictly: unknown fields, wrong types and doubled keys are errors.
func decode(t *testing.T, name string, text []byte, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// acceptSettings has the gateway's own strict loader judge a file and an
// environment, and returns the effective values by key.
func acceptSettings(t *testing.T, file string, environment map[string]string) map[string]string {
	t.Helper()
	cmd := exec.Command(binary(t), "config", "--format", "json", "--config", filepath.Join(repository, file))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for k, v := range environment {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: driftgate config: %v\n%s", file, err, stderr.String())
	}
	var values []struct{ Key, Value string }
	if err := json.Unmarshal(out, &values); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range values {
		got[v.Key] = v.Value
	}
	// A variable that nobody reads is a mistake that no program reports.
	for name := range environment {
		if !strings.HasPrefix(name, "DRIFTGATE_") {
			continue
		}
		known := false
		for key := range got {
			known = known || name == "DRIFTGATE_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
		}
		if !known {
			t.Errorf("%s is no setting of driftgate", name)
		}
	}
	return got
}
