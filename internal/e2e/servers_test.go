//go:build e2e

// Package e2e runs driftgate's binary against the real servers around it:
// MinIO, Prometheus, Alertmanager and statsd_exporter. `make e2e` installs them
// and runs this package; every server listens on 127.0.0.1 on a free port and
// is ended by its process id.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// repository is the root of the checkout.
func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// tool finds a server's binary: in DRIFTGATE_TOOLS, .cache/bin or PATH. `make
// e2e` has installed all of them, so a missing one is a failure, not a skip.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{os.Getenv("DRIFTGATE_TOOLS"), filepath.Join(repository(t), ".cache", "bin")} {
		if path := filepath.Join(dir, name); dir != "" {
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: run .ci/tools first", name)
	}
	return path
}

// freePort asks the system for a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// process is a server that the test started.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *os.File
	done chan error
}

// start runs a server until the test ends; its output is shown when the test
// fails.
func start(t *testing.T, env []string, path string, args ...string) *process {
	t.Helper()
	name := filepath.Base(path)
	log, err := os.CreateTemp(t.TempDir(), name+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{name: name, cmd: exec.Command(path, args...), log: log, done: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Dir = filepath.Dir(log.Name())
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	t.Cleanup(func() {
		p.stop(syscall.SIGTERM)
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the end of %s's log:\n%s", name, tail(text, 6000))
		}
	})
	return p
}

// stop ends the process by its id and waits for it.
func (p *process) stop(sig os.Signal) {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.cmd.Process.Signal(sig) // it may have ended by itself
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		b = b[len(b)-n:]
	}
	return b
}

// eventually waits until ok returns true; what names the claim.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	return look(t, 200*time.Millisecond, within, what, ok)
}

// look is eventually at a pace of its own.
func look(t *testing.T, every, within time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	for !ok() {
		if time.Since(begun) > within {
			t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(every)
	}
	return time.Since(begun)
}

func answers(address string) bool {
	resp, err := http.Get(address)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode < 300
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sample is one row of an instant query.
type sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

func (s sample) text() string { return fmt.Sprint(s.Value[1]) }

// query asks Prometheus.
func query(t *testing.T, prometheus, expr string) []sample {
	t.Helper()
	resp, err := http.Get(prometheus + "/api/v1/query?" + url.Values{"query": {expr}}.Encode())
	if err != nil {
		t.Fatalf("query %s: %v", expr, err)
	}
	defer resp.Body.Close()
	var out struct {
		Status string
		Error  string
		Data   struct{ Result []sample }
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || out.Status != "success" {
		t.Fatalf("query %s: %s %v", expr, out.Error, err)
	}
	return out.Data.Result
}

// gateway is a running driftgate with its token.
type gateway struct {
	*process
	address, token, dir string
}

// serve starts driftgate's binary on dir with a configuration file.
func serve(t *testing.T, dir, config string, env ...string) *gateway {
	t.Helper()
	g := &gateway{dir: dir}
	file := write(t, filepath.Join(t.TempDir(), "driftgate.yml"), config)
	g.process = start(t, env, filepath.Join(repository(t), "bin", "driftgate"), "serve", "--dir", dir, "--config", file)
	eventually(t, 30*time.Second, "driftgate listens", func() bool {
		select {
		case err := <-g.done:
			g.done <- err
			t.Fatalf("driftgate ended: %v", err)
		default:
		}
		b, err := os.ReadFile(filepath.Join(dir, "run.json"))
		var run struct {
			PID            int
			Address, Token string
		}
		if err != nil || json.Unmarshal(b, &run) != nil || run.PID != g.cmd.Process.Pid {
			return false
		}
		g.address, g.token = run.Address, run.Token
		return answers(g.address + "/-/healthy")
	})
	return g
}

// call makes one request with the token; an answer of 400 or more fails the test.
func (g *gateway) call(t *testing.T, method, path string, in, out any) {
	t.Helper()
	status, body := g.try(t, method, path, in)
	if status >= 400 {
		t.Fatalf("%s %s: %d %s", method, path, status, body)
	}
	if out != nil {
		if err := json.Unmarshal(body, out); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, body)
		}
	}
}

func (g *gateway) try(t *testing.T, method, path string, in any) (int, []byte) {
	t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, g.address+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+g.token)
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, text
}
