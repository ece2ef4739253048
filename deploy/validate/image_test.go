package validate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// confine is what a container engine does with the image: a root that cannot be
// written, /proc, an own /tmp, the state folder, and where we may, the image's user.
const confine = `set -e
root=$1; state=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --rbind /proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$state" "$root/var/lib/driftgate"
if [ "$(id -u)" = 0 ] && [ -z "${MAPPED:-}" ]; then exec chroot --userspec=65532:65532 "$root" "$@"; fi
exec chroot "$root" "$@"`

// image lays out the Dockerfile's last stage and returns a way to run in it.
func image(t *testing.T) func(ctx context.Context, args ...string) *exec.Cmd {
	t.Helper()
	root, state := t.TempDir(), t.TempDir()
	// t.TempDir's parents are closed to others; the image's user needs none of them after chroot.
	for _, d := range []string{"etc/driftgate", "usr/local/bin", "var/lib/driftgate", "tmp", "proc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "usr/local/bin/driftgate"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	unshare, mapped := []string{"--mount"}, ""
	if os.Geteuid() != 0 {
		unshare, mapped = []string{"--user", "--map-root-user", "--mount"}, "yes"
	} else if err := os.Chown(state, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	run := func(ctx context.Context, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "unshare", append(append(unshare, "sh", "-c", confine, "sh", root, state, "/usr/local/bin/driftgate"), args...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "MAPPED=" + mapped, "DRIFTGATE_DIR=/var/lib/driftgate", "DRIFTGATE_HTTP_LISTEN=127.0.0.1:0"}
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = time.Minute
		return cmd
	}
	if out, err := run(t.Context(), "version").CombinedOutput(); err != nil {
		if strings.Contains(string(out), "permitted") || strings.Contains(string(out), "not found") {
			t.Skipf("no namespaces here: %s", out)
		}
		t.Fatalf("the binary does not run in the image: %v\n%s", err, out)
	}
	return run
}

func TestGatewayTrainsServesAndStopsInTheImage(t *testing.T) {
	if testing.Short() {
		t.Skip("trains a model")
	}
	run := image(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	gateway := run(ctx, "serve")
	stderr, err := gateway.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	listening, log := make(chan struct{}), bytes.Buffer{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), "sign in at") {
				close(listening)
			}
		}
	}()
	select {
	case <-listening:
	case <-done:
		t.Fatalf("the gateway ended: %s", log.String())
	case <-time.After(time.Minute):
		t.Fatal("the gateway does not listen after a minute")
	}
	// Other processes of the container find it by the state folder.
	if out, err := probeUntil(t, run, "--healthy"); err != nil {
		t.Errorf("check --healthy: %v\n%s", err, out)
	}
	if out, err := run(t.Context(), "check", "--ready").CombinedOutput(); err == nil {
		t.Errorf("ready without a model: %s", out)
	}
	if out, err := run(t.Context(), "ingest", "synthetic").CombinedOutput(); err != nil {
		t.Fatalf("ingest: %v\n%s", err, out)
	}
	if out, err := run(t.Context(), "train", "--dataset", "garments", "--promote", "--set", "train.epochs=2").CombinedOutput(); err != nil {
		t.Fatalf("train: %v\n%s", err, out)
	}
	if out, err := probeUntil(t, run, "--ready"); err != nil {
		t.Errorf("check --ready after training: %v\n%s", err, out)
	}
	var report struct {
		Checks []struct{ Name, Detail string }
	}
	out, err := run(t.Context(), "check", "--format", "json").Output()
	if e := json.Unmarshal(out, &report); err != nil || e != nil || len(report.Checks) < 5 {
		t.Errorf("check: %v, %v: %s", err, e, out)
	}
	stop()
	<-done
	if err := gateway.Wait(); err != nil && gateway.ProcessState.ExitCode() != 0 {
		t.Errorf("on SIGTERM: %v\n%s", err, log.String())
	}
}

// probeUntil asks for up to half a minute, as an engine does.
func probeUntil(t *testing.T, run func(context.Context, ...string) *exec.Cmd, what string) (out []byte, err error) {
	t.Helper()
	for range 60 {
		if out, err = run(t.Context(), "check", what).CombinedOutput(); err == nil {
			return out, nil
		}
		time.Sleep(500 * time.Millisecond)
	}
	return out, err
}
