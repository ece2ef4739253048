//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTheStrangersPath does what docs/getting-started.md says, every command as
// it stands there, in order, in one shell, in a copy of the checkout; and what
// the runbook of the first alert says. Only the ports are others, and the demo
// is left to .ci/run, which plays it.
func TestTheStrangersPath(t *testing.T) {
	begun := time.Now()
	root := checkout(t)
	guide, err := os.ReadFile(filepath.Join(root, "docs", "getting-started.md"))
	if err != nil {
		t.Fatal(err)
	}
	sh := newShell(t, root)
	ran := 0
	for _, b := range blocks(string(guide)) {
		if b.commands == "make demo\n" {
			continue
		}
		if strings.HasPrefix(b.section, "11.") {
			sh.runbook(t, root, regexp.MustCompile(`^driftgate (runs start|rollback)`))
		}
		at := time.Now()
		out := sh.run(t, b.commands)
		t.Logf("%s (%s)\n%s", b.section, time.Since(at).Round(100*time.Millisecond), out)
		if b.want != "" && !alike(b.want, out) {
			t.Fatalf("%s: printed\n%s\nwhere the page has\n%s", b.section, out, b.want)
		}
		if strings.HasPrefix(b.section, "8.") && b.want != "" {
			sh.runbook(t, root, regexp.MustCompile(`^(driftgate (accuracy|models|runs (list|show))|amtool silence (add|query)) `))
		}
		ran++
	}
	if ran < 10 {
		t.Errorf("only %d blocks were found", ran)
	}
	t.Logf("%d blocks in %s", ran, time.Since(begun).Round(time.Second))
}

// checkout copies the repository's files into a folder of its own, with free
// ports in the files that name those of the servers, and the tools that
// .ci/tools has built.
func checkout(t *testing.T) string {
	t.Helper()
	from, to := repository(t), t.TempDir()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = from
	names, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	ports := otherPorts(t)
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		b, err := os.ReadFile(filepath.Join(from, name))
		if os.IsNotExist(err) { // deleted, and not committed yet
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		switch name {
		case "docs/getting-started.md", "docs/runbooks.md", "deploy/prometheus.yml", "deploy/alertmanager.yml":
			b = []byte(ports.Replace(string(b)))
		}
		info, err := os.Stat(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), b, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(to, ".cache"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(tool(t, "minio")), filepath.Join(to, ".cache", "bin")); err != nil {
		t.Fatal(err)
	}
	return to
}

// otherPorts puts free ports in the place of the four that the page names; the
// gateway's default is moved by its variable.
func otherPorts(t *testing.T) *strings.Replacer {
	t.Helper()
	var pairs []string
	for _, port := range []string{"8080", "9000", "9090", "9093"} {
		free := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		if pairs = append(pairs, "127.0.0.1:"+port, free); port == "8080" {
			t.Setenv("DRIFTGATE_HTTP_LISTEN", free)
		}
	}
	return strings.NewReplacer(pairs...)
}

// block is one fenced sh block, and what the page says that it prints.
type block struct{ section, commands, want string }

var fence = regexp.MustCompile("(?ms)^## ([^\n]+)$|^```(sh|text)\n(.*?)^```$")

func blocks(page string) (all []block) {
	section := ""
	for _, m := range fence.FindAllStringSubmatch(page, -1) {
		switch {
		case m[1] != "":
			section = m[1]
		case m[2] == "sh":
			all = append(all, block{section: section, commands: m[3]})
		case len(all) > 0:
			all[len(all)-1].want = m[3]
		}
	}
	return all
}

var (
	number = regexp.MustCompile(`[0-9]+(\\\.[0-9]+)?`)
	spaces = regexp.MustCompile(` +`)
)

// alike says whether got is what the page shows: line by line, any number where
// the page has one, any width of columns, anything for … and any lines for a …
// alone.
func alike(want, got string) bool {
	var p strings.Builder
	p.WriteString("^")
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line == "…" {
			p.WriteString(`(?:[^\n]*\n)*?`)
			continue
		}
		line = number.ReplaceAllString(regexp.QuoteMeta(line), `[0-9]+(?:\.[0-9]+)?`)
		line = strings.ReplaceAll(spaces.ReplaceAllString(line, `[ \t]+`), "…", `[^\n]*?`)
		p.WriteString(`[ \t]*` + line + `[ \t]*\n`)
	}
	p.WriteString("$")
	return regexp.MustCompile(p.String()).MatchString(got)
}

// shell is one bash session: a command that fails ends it, and the test.
type shell struct {
	in   io.Writer
	out  *bufio.Reader
	dir  string // of the scripts
	runs int
}

func newShell(t *testing.T, dir string) *shell {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "--noprofile", "--norc", "-euo", "pipefail")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its servers end with it
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(dir, "tour", "*.log"))
			for _, name := range logs {
				text, _ := os.ReadFile(name)
				t.Logf("the end of %s:\n%s", filepath.Base(name), tail(text, 4000))
			}
		}
		in.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // what is left of them
		_ = cmd.Wait()                                      // it ends by the signal or has failed the test already
		time.Sleep(time.Second)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		r.Close()
	})
	return &shell{in: in, out: bufio.NewReader(r), dir: t.TempDir()}
}

// run executes the commands in the session and returns what they print.
func (s *shell) run(t *testing.T, commands string) string {
	t.Helper()
	s.runs++
	done := fmt.Sprintf("block %d is done", s.runs)
	script := write(t, filepath.Join(s.dir, fmt.Sprintf("%d.sh", s.runs)), commands)
	if _, err := fmt.Fprintf(s.in, "source %s\necho '%s'\n", script, done); err != nil {
		t.Fatalf("the shell has ended: %v", err)
	}
	type read struct {
		text string
		err  error
	}
	answer := make(chan read, 1)
	go func() {
		var out strings.Builder
		for {
			line, err := s.out.ReadString('\n')
			if before, ok := strings.CutSuffix(line, done+"\n"); ok {
				if before != "" { // the last line had no end
					before += "\n"
				}
				answer <- read{out.String() + before, nil}
				return
			}
			if out.WriteString(line); err != nil {
				answer <- read{out.String(), err}
				return
			}
		}
	}()
	select {
	case got := <-answer:
		if got.err != nil {
			t.Fatalf("the commands failed:\n%s\nprinted:\n%s", commands, got.text)
		}
		return got.text
	case <-time.After(3 * time.Minute):
		t.Fatalf("not done within 3 minutes:\n%s", commands)
		return ""
	}
}

var codeSpan = regexp.MustCompile("`((?:driftgate|amtool) [^`\n]+)`")

// runbook runs the commands of the alert's section in docs/runbooks.md, and of
// the one that it refers to, as far as they match: the model's name, the reason
// and the run are put in the place of NAME, WHY and ID.
func (s *shell) runbook(t *testing.T, root string, which *regexp.Regexp) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "runbooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	var run struct{ ID string }
	if err := json.Unmarshal([]byte(s.run(t, "driftgate runs show --format json\n")), &run); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("=NAME", "=garments", "=WHY", "=tour", " ID", " "+run.ID)
	ran := 0
	for _, title := range []string{"Accuracy evidence of drift", "Production accuracy below reference"} {
		_, section, ok := strings.Cut(string(page), "\n## "+title+"\n")
		if !ok {
			t.Fatalf("docs/runbooks.md has no section %q", title)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		for _, m := range codeSpan.FindAllStringSubmatch(section, -1) {
			if which.MatchString(m[1]) {
				command := fill.Replace(m[1])
				t.Logf("runbook, %s: %s\n%s", title, command, s.run(t, command+"\n"))
				ran++
			}
		}
	}
	if ran < 2 {
		t.Errorf("%d commands of the runbook match %s", ran, which)
	}
}
