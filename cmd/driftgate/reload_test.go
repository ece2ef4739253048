package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"driftgate/internal/app"
)

// asProgram makes the test binary driftgate itself, so that a test can send a
// signal to a process of its own.
const asProgram = "DRIFTGATE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// lines is a log that is read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// program is a driftgate serve in a process of its own.
type program struct {
	t       *testing.T
	file    string // its configuration
	process *os.Process
	log     *lines
	run     app.RunFile
}

func startProgram(t *testing.T, config string) *program {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &program{t: t, file: filepath.Join(dir, "driftgate.yml"), log: &lines{}}
	p.configure(config)
	cmd := exec.Command(exe, "serve", "--config", p.file, "--dir", filepath.Join(dir, "gateway"))
	cmd.Env = append(os.Environ(), asProgram+"=yes")
	cmd.Stderr, cmd.Stdout = p.log, p.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.process = cmd.Process
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.process.Signal(syscall.SIGTERM) // it may have ended by itself
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("driftgate serve ended with %v", err)
			}
		case <-time.After(20 * time.Second):
			_ = p.process.Kill()
			t.Error("driftgate serve does not end after SIGTERM")
		}
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	p.eventually("it listens", func() bool {
		p.run, err = app.ReadRunFile(filepath.Join(dir, "gateway"))
		return err == nil
	})
	return p
}

func (p *program) configure(text string) {
	p.t.Helper()
	if err := os.WriteFile(p.file, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// hangUp is kill -HUP.
func (p *program) hangUp() {
	p.t.Helper()
	if err := p.process.Signal(syscall.SIGHUP); err != nil {
		p.t.Fatal(err)
	}
}

func (p *program) eventually(what string, ok func() bool) {
	p.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// gauge reads one series without labels from /metrics.
func (p *program) gauge(name string) string {
	p.t.Helper()
	resp, err := http.Get(p.run.Address + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	if m == nil {
		p.t.Fatalf("/metrics has no %s", name)
	}
	return string(m[1])
}

// deliver sends an alert that asks for nothing; the answer is its status.
func (p *program) deliver(token string) int {
	p.t.Helper()
	body, err := json.Marshal(map[string]any{"version": "4", "alerts": []any{map[string]any{"status": "resolved", "labels": map[string]string{"alertname": "Nothing"}}}})
	if err != nil {
		p.t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, p.run.Address+"/api/v1/alerts", bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestHangUpReadsTheFileAgainAndAFaultyOneChangesNothing(t *testing.T) {
	const (
		good   = "driftgate_config_last_reload_successful"
		at     = "driftgate_config_last_reload_success_timestamp_seconds"
		before = "log: {level: error}\nhttp: {listen: \"127.0.0.1:0\", alerts_token: the-first-token-of-it}\n"
		after  = "log: {level: debug}\nhttp: {listen: \"127.0.0.1:0\", alerts_token: the-second-token-of-it}\n"
		faulty = "log: {level: error}\nhttp: {listen: \"127.0.0.1:0\", alerts_token: the-third-token-of-it}\ncurate: {treshold: 0.5}\n"
	)
	p := startProgram(t, before)
	if p.gauge(good) != "1" || p.deliver("the-first-token-of-it") != http.StatusOK || p.deliver("the-second-token-of-it") != http.StatusUnauthorized {
		t.Fatal("the configuration is not that of the file")
	}
	if strings.Contains(p.log.String(), "alert ignored") {
		t.Error("the level error shows what is logged for debugging")
	}

	started := p.gauge(at)
	p.configure(after)
	p.hangUp()
	p.eventually("the second token opens", func() bool { return p.deliver("the-second-token-of-it") == http.StatusOK })
	p.eventually("the new level shows ignored alerts", func() bool {
		p.deliver("the-second-token-of-it")
		return strings.Contains(p.log.String(), "alert ignored")
	})
	p.eventually("the log tells what changed", func() bool {
		return strings.Contains(p.log.String(), `msg="configuration reloaded"`) && strings.Contains(p.log.String(), "log.level")
	})
	if p.deliver("the-first-token-of-it") != http.StatusUnauthorized || p.gauge(good) != "1" || p.gauge(at) == started {
		t.Errorf("after a reload the first token opens still, or %s is %s, or its time is that of the start", good, p.gauge(good))
	}

	reloaded := p.gauge(at)
	p.configure(faulty)
	p.hangUp()
	p.eventually("the gauge falls to 0", func() bool { return p.gauge(good) == "0" })
	if p.deliver("the-second-token-of-it") != http.StatusOK || p.deliver("the-third-token-of-it") != http.StatusUnauthorized || p.gauge(at) != reloaded {
		t.Error("a faulty file changed something")
	}
	p.eventually("the log names the mistake and its line", func() bool {
		return strings.Contains(p.log.String(), "configuration not reloaded") && strings.Contains(p.log.String(), "unknown key curate.treshold") &&
			strings.Contains(p.log.String(), ":3:")
	})

	p.configure(before)
	p.hangUp()
	p.eventually("the mended file counts", func() bool { return p.gauge(good) == "1" && p.deliver("the-first-token-of-it") == http.StatusOK })
}
