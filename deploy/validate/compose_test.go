package validate

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// newSecrets runs compose/new-secrets in an empty folder and returns it.
func newSecrets(t *testing.T) string {
	t.Helper()
	script, err := filepath.Abs(filepath.Join(repository, "deploy/compose/new-secrets"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if code, out := runIn(t, dir, script); code != 0 {
		t.Fatalf("new-secrets: exit %d: %s", code, out)
	}
	return dir
}

// project loads compose.yml as `docker compose --profile NAME` does: with the
// published schema, and with .env as new-secrets makes it.
func project(t *testing.T, profile string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(repository, "deploy/compose.yml")},
		cli.WithEnvFiles(filepath.Join(newSecrets(t), ".env")), cli.WithDotEnv, cli.WithProfiles([]string{profile}))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatalf("compose.yml: %v", err)
	}
	return p
}

func TestComposeProfilesHoldWhatTheyPromise(t *testing.T) {
	for profile, want := range map[string][]string{
		"minimal": {"alertmanager", "gateway", "prometheus"},
		"full":    {"alertmanager", "gateway-full", "grafana", "label-studio", "minio", "postgres", "prometheus", "statsd-exporter"},
	} {
		got := project(t, profile).ServiceNames()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", profile, got, want)
		}
	}
}

func TestComposeWithoutSecretsRefusesAndSaysWhatToDo(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{filepath.Join(repository, "deploy/compose.yml")}, cli.WithProfiles([]string{"minimal"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = options.LoadProject(context.Background()); err == nil || !strings.Contains(err.Error(), "new-secrets") {
		t.Errorf("loads without .env, or does not say what to do: %v", err)
	}
}

func TestComposeContainersAreConfined(t *testing.T) {
	for name, s := range project(t, "full").Services {
		if !s.ReadOnly && name != "label-studio" {
			t.Errorf("%s may write to its root", name)
		}
		if !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.Privileged {
			t.Errorf("%s: drops %v, %v", name, s.CapDrop, s.SecurityOpt)
		}
		if !regexp.MustCompile(`:[A-Za-z]*\.?v?\d`).MatchString(s.Image) && !strings.HasPrefix(s.Image, "driftgate:") {
			t.Errorf("%s: image %s is not pinned", name, s.Image)
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open on %q", name, p.Published, p.HostIP)
			}
		}
		// Docker cannot copy those into a read-only container.
		for _, secret := range s.Secrets {
			if _, ok := project(t, "full").Secrets[secret.Source]; !ok || project(t, "full").Secrets[secret.Source].File == "" {
				t.Errorf("%s: secret %s is no file", name, secret.Source)
			}
		}
	}
}

func TestComposeMountsExist(t *testing.T) {
	shown := map[string]bool{}
	p := project(t, "full")
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				if _, ok := p.Volumes[v.Source]; !ok {
					t.Errorf("%s: volume %s is not declared", name, v.Source)
				}
				continue
			}
			if _, err := os.Stat(v.Source); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if !v.ReadOnly {
				t.Errorf("%s may write to %s", name, v.Source)
			}
			if name == "grafana" {
				shown[filepath.Base(v.Source)] = true
			}
		}
	}
	dashboards, err := filepath.Glob(filepath.Join(repository, "dashboards/*.json"))
	if err != nil || len(dashboards) == 0 {
		t.Fatal(err, "no dashboards")
	}
	for _, d := range dashboards {
		if !shown[filepath.Base(d)] {
			t.Errorf("Grafana does not get %s", filepath.Base(d))
		}
	}
}

func TestComposeGatewayAcceptsItsSettings(t *testing.T) {
	for profile, name := range map[string]string{"minimal": "gateway", "full": "gateway-full"} {
		p := project(t, profile)
		s := p.Services[name]
		env := map[string]string{"DRIFTGATE_DIR": "/var/lib/driftgate", "DRIFTGATE_HTTP_LISTEN": "0.0.0.0:8080"} // the image's
		for k, v := range s.Environment {
			env[k] = *v
		}
		values := acceptSettings(t, "deploy/compose/driftgate.yml", env)
		if s.Ports[0].Target != 8080 || !slices.Contains(s.Networks["default"].Aliases, "driftgate") {
			t.Errorf("%s: Prometheus and Alertmanager look for driftgate:8080", name)
		}
		for key, service := range map[string]string{"s3.endpoint": "minio:9000", "statsd.address": "statsd-exporter:9125"} {
			if (profile == "full") != strings.Contains(values[key], service) {
				t.Errorf("%s: %s is %q", profile, key, values[key])
			}
		}
		limit := int64(s.Deploy.Resources.Limits.MemoryBytes)
		if limit != 2<<30 || env["GOMEMLIMIT"] != "1600MiB" {
			t.Errorf("%s: GOMEMLIMIT %s under a limit of %d bytes", name, env["GOMEMLIMIT"], limit)
		}
	}
}

func TestNewSecretsAreStrongAndNeverOverwritten(t *testing.T) {
	dir := newSecrets(t)
	text, err := os.ReadFile(filepath.Join(dir, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^[A-Z_]+=(.*)$`).FindAllStringSubmatch(string(text), -1) {
		if words[m[1]] || !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(m[1]) {
			t.Errorf("secret %q: want 160 bits, each of its own", m[1])
		}
		words[m[1]] = true
	}
	alerts, err := os.ReadFile(filepath.Join(dir, "secrets/alerts-token"))
	if err != nil || !words[string(alerts)] || len(words) != 5 {
		t.Errorf("Alertmanager's token %q is none of .env's %d: %v", alerts, len(words), err)
	}
	for path, mode := range map[string]os.FileMode{".env": 0o600, "secrets": 0o700 | os.ModeDir, "secrets/alerts-token": 0o644} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: mode %v, want %v (%v)", path, info.Mode(), mode, err)
		}
	}
	script, _ := filepath.Abs(filepath.Join(repository, "deploy/compose/new-secrets"))
	if code, out := runIn(t, dir, script); code != 1 || !strings.Contains(out, "exists") {
		t.Errorf("a second time: exit %d, %s", code, out)
	}
	if again, _ := os.ReadFile(filepath.Join(dir, ".env")); string(again) != string(text) {
		t.Error("the second time changed .env")
	}
}
