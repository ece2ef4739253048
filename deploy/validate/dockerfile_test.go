package validate

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// stages parses the Dockerfile as BuildKit does, its lint rules on.
func stages(t *testing.T) []instructions.Stage {
	t.Helper()
	tree, err := parser.Parse(bytes.NewReader(read(t, "deploy/Dockerfile")))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range tree.Warnings {
		t.Errorf("Dockerfile: %s", w.Short)
	}
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, text string, at []parser.Range) {
		t.Errorf("Dockerfile:%v: %s: %s", at, rule, text)
	}})
	all, _, err := instructions.Parse(tree.AST, lint)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// command returns the only instruction of type T in a stage.
func command[T instructions.Command](t *testing.T, s instructions.Stage) T {
	t.Helper()
	var found []T
	for _, c := range s.Commands {
		if c, ok := c.(T); ok {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d instructions %T in the last stage, want 1", len(found), *new(T))
	}
	return found[0]
}

func TestImageIsTheBinaryAloneAndNotRoot(t *testing.T) {
	all := stages(t)
	last := all[len(all)-1]
	if last.BaseName != "scratch" {
		t.Errorf("the image is made from %s, want scratch", last.BaseName)
	}
	if user := command[*instructions.UserCommand](t, last).User; !regexp.MustCompile(`^[1-9]\d+:[1-9]\d+$`).MatchString(user) {
		t.Errorf("USER %q, want numbers that are not root's", user)
	}
	entry := command[*instructions.EntrypointCommand](t, last)
	if entry.PrependShell || len(entry.CmdLine) != 1 {
		t.Errorf("ENTRYPOINT %q: want the binary alone, in exec form: there is no shell", entry.CmdLine)
	}
	for _, c := range last.Commands {
		if _, ok := c.(*instructions.RunCommand); ok {
			t.Errorf("RUN in the last stage: there is no shell to run it")
		}
	}
}

func TestBaseImagesArePinnedAndNoOlderThanTheModuleAsks(t *testing.T) {
	var mod struct{ Go string }
	out, err := exec.Command("go", "mod", "edit", "-json", filepath.Join(repository, "go.mod")).Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	build := stages(t)[0]
	version := regexp.MustCompile(`^golang:(\d+)\.(\d+)\.(\d+)-\w+$`).FindStringSubmatch(build.BaseName)
	if version == nil {
		t.Fatalf("FROM %s: want golang:MAJOR.MINOR.PATCH-NAME", build.BaseName)
	}
	asked := strings.Split(mod.Go, ".")
	for i, want := range asked {
		a, _ := strconv.Atoi(want)
		b, _ := strconv.Atoi(version[i+1])
		if b > a {
			break
		}
		if b < a {
			t.Fatalf("FROM %s: go.mod asks for %s", build.BaseName, mod.Go)
		}
	}
}

func TestHealthCheckIsACommandThatExists(t *testing.T) {
	all := stages(t)
	health := command[*instructions.HealthCheckCommand](t, all[len(all)-1]).Health
	if health.Test[0] != "CMD" || health.Test[1] != "/usr/local/bin/driftgate" {
		t.Fatalf("HEALTHCHECK %q: want the binary in exec form", health.Test)
	}
	probe(t, health.Test[2:])
	if health.Timeout <= 3e9 {
		t.Errorf("HEALTHCHECK --timeout %s: the probe itself waits 3s", health.Timeout)
	}
}

// probe runs a health check's arguments where no gateway is: they must be
// understood, and say so.
func probe(t *testing.T, args []string) {
	t.Helper()
	cmd := exec.Command(binary(t), args...)
	cmd.Env = []string{"DRIFTGATE_DIR=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "no gateway listens") {
		t.Errorf("driftgate %s where no gateway is: %v, %s; want exit 1", strings.Join(args, " "), err, out)
	}
}

func TestBuildContextHoldsWhatTheBuildReadsAndNoMore(t *testing.T) {
	patterns, err := ignorefile.ReadAll(bytes.NewReader(read(t, "deploy/Dockerfile.dockerignore")))
	if err != nil {
		t.Fatal(err)
	}
	ignore, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	ignored := func(path string) bool {
		yes, err := ignore.MatchesOrParentMatches(path)
		if err != nil {
			t.Fatal(err)
		}
		return yes
	}
	files := sources(t)
	if len(files) < 100 {
		t.Fatalf("the build reads %d files of the repository: the test would prove nothing", len(files))
	}
	for _, f := range append(files, "go.mod", "go.sum") {
		if ignored(f) {
			t.Errorf("%s: the build reads it, Dockerfile.dockerignore leaves it out", f)
		}
	}
	for _, f := range []string{".git/config", ".cache/bin/minio", "bin/driftgate", "deploy/.env", "deploy/secrets/alerts-token",
		"driftgate-data/token", "dashboards/render/node_modules/x/index.js"} {
		if !ignored(f) {
			t.Errorf("%s would be sent to the builder", f)
		}
	}
}

// sources lists the repository's files that `go build ./cmd/driftgate` reads.
func sources(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=Dir,Module,GoFiles,SFiles,EmbedFiles", "./cmd/driftgate")
	cmd.Dir = repository
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var files []string
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Dir                         string
			Module                      *struct{ Path, Dir string }
			GoFiles, SFiles, EmbedFiles []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return files
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Module == nil || p.Module.Path != "driftgate" {
			continue
		}
		for _, list := range [][]string{p.GoFiles, p.SFiles, p.EmbedFiles} {
			for _, f := range list {
				path, err := filepath.Rel(p.Module.Dir, filepath.Join(p.Dir, f))
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, path)
			}
		}
	}
}
