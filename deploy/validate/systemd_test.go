package validate

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/unit"
)

const unitFile = "deploy/systemd/driftgate.service"

// runIn runs a program in a folder and returns its exit code and output.
func runIn(t *testing.T, dir, name string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func settings(t *testing.T) map[string][]string {
	t.Helper()
	options, err := unit.Deserialize(bytes.NewReader(read(t, unitFile)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, o := range options {
		all[o.Section+"."+o.Name] = append(all[o.Section+"."+o.Name], o.Value)
	}
	return all
}

func TestUnitStartsWhatExistsWhereItMayWrite(t *testing.T) {
	s := settings(t)
	start := s["Service.ExecStart"][0]
	if !strings.HasPrefix(start, "/usr/local/bin/driftgate serve ") {
		t.Errorf("ExecStart=%s", start)
	}
	args := append(strings.Fields(start)[1:], "--help")
	if code, out := runIn(t, ".", binary(t), args...); code != 0 {
		t.Errorf("driftgate %q: exit %d, %s", args, code, out)
	}
	env := strings.Join(s["Service.Environment"], " ")
	if !strings.Contains(env, "DRIFTGATE_DIR=%S/"+s["Service.StateDirectory"][0]) {
		t.Errorf("Environment=%s: the state is not in StateDirectory=, and nothing else may be written", env)
	}
	for _, name := range []string{"NoNewPrivileges", "DynamicUser", "PrivateTmp", "MemoryDenyWriteExecute"} {
		if !slices.Equal(s["Service."+name], []string{"yes"}) {
			t.Errorf("%s=%v", name, s["Service."+name])
		}
	}
}

// A copy of the unit that names a program which exists here, for systemd-analyze.
func verifiable(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "driftgate.service")
	text := strings.ReplaceAll(string(read(t, unitFile)), "/usr/local/bin/driftgate", self)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSystemdFindsNothingWrongAndLittleExposed(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	path := verifiable(t)
	if code, out := runIn(t, ".", analyze, "verify", path); code != 0 || strings.Contains(out, "driftgate.service") {
		t.Errorf("systemd-analyze verify: exit %d\n%s", code, out)
	}
	_, out := runIn(t, ".", analyze, "security", "--offline=true", path)
	level := regexp.MustCompile(`Overall exposure level for \S+: ([\d.]+)`).FindStringSubmatch(out)
	if level == nil {
		t.Fatalf("systemd-analyze security: %s", out)
	}
	if x, err := strconv.ParseFloat(level[1], 64); err != nil || x > 1.5 {
		t.Errorf("exposure %s of 10, want at most 1.5", level[1])
	}
}
