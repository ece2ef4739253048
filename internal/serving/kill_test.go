package serving

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
)

// childEnv holds the childJob, as JSON, of a test process that is to capture
// until it is killed.
const childEnv = "DRIFTGATE_TEST_CAPTURE"

type childJob struct {
	Dir     string
	Store   objstore.Options
	Buckets objstore.Buckets
}

// captureForEver predicts, flags and uploads, and says on standard output what
// it acknowledged: one line a prediction, one a flag.
func captureForEver() {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(3)
		}
	}
	var job childJob
	fail(json.Unmarshal([]byte(os.Getenv(childEnv)), &job))
	st, err := objstore.Open(job.Store)
	fail(err)
	l, err := ledger.Open(context.Background(), filepath.Join(job.Dir, "ledger.db"))
	fail(err)
	s, err := New(Options{Dir: filepath.Join(job.Dir, "spool"), Uploaders: 2}, st, l, job.Buckets)
	fail(err)
	s.install(testModel("sha256:0123456789abcdef"))
	go func() { fail(s.Run(context.Background())) }()
	var out sync.Mutex
	say := func(line string) {
		out.Lock()
		defer out.Unlock()
		_, err := os.Stdout.WriteString(line + "\n")
		fail(err)
	}
	for worker := range 4 {
		go func() {
			for n := 0; ; n++ {
				px := make([]byte, 28*28)
				px[0] = byte(worker)
				b, err := dataset.EncodePNG(px, 28, 28, 1)
				fail(err)
				p, err := s.Predict(context.Background(), b, "photo.PNG")
				fail(err)
				say("captured " + p.Key)
				if n%3 == 0 {
					fail(s.Flag(context.Background(), p.Key))
					say("flagged " + p.Key)
				}
			}
		}()
	}
	select {}
}

func TestNothingAcknowledgedIsLostByKill9(t *testing.T) {
	w := newWorld(t, Options{})
	dir := t.TempDir()
	captured, flagged := map[string]bool{}, map[string]bool{}
	for _, after := range []int{1, 60, 150} {
		captureAndKill(t, childJob{dir, endpoint(t), w.buckets}, after, captured, flagged)
	}

	l, err := ledger.Open(t.Context(), filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := New(Options{Dir: filepath.Join(dir, "spool")}, w.store, l, w.buckets)
	if err != nil {
		t.Fatal(err)
	}
	left, _ := s.Spooled()
	after := &world{Service: s, t: t, store: w.store, ledger: l, buckets: w.buckets}
	stop := after.running()
	after.drain()
	stop()

	stored := w.production()
	ids := map[string]bool{}
	for key := range stored {
		id := key[strings.Index(key, "/")+1:]
		if ids[id] {
			t.Errorf("%s is stored twice", id)
		}
		ids[id] = true
		r, err := l.Record(t.Context(), id)
		if err != nil || r.Key != key {
			t.Errorf("the ledger has %q for %s: %v", r.Key, key, err)
		}
		if tags := after.tags(w.buckets.Production, key); tags["confidence"] != "0.700" || tags["timestamp"] == "" || (flagged[key] && tags["flagged"] != "true") {
			t.Errorf("%s, flagged %t, has tags %v", key, flagged[key], tags)
		}
	}
	for key := range captured {
		if !stored[key] {
			t.Errorf("acknowledged prediction %s is lost", key)
		}
	}
	if extra := len(stored) - len(captured); extra < 0 || extra > 3*8 {
		t.Errorf("%d objects for %d acknowledged predictions", len(stored), len(captured))
	}
	t.Logf("3 kills: %d acknowledged, %d flagged, %d stored, %d were left on the spool", len(captured), len(flagged), len(stored), left)
}

// captureAndKill starts a child and kills it -9 once it has acknowledged so
// many predictions.
func captureAndKill(t *testing.T, job childJob, after int, captured, flagged map[string]bool) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hang := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer hang.Stop()
	n, killed := 0, false
	for lines := bufio.NewScanner(out); lines.Scan(); { // to the end: what the pipe holds was acknowledged too
		what, key, ok := strings.Cut(lines.Text(), " ")
		switch {
		case !ok:
		case what == "captured":
			captured[key] = true
			if n++; n >= after && !killed {
				killed = true
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		case what == "flagged":
			flagged[key] = true
		}
	}
	_ = cmd.Wait() // killed
	if !killed {
		t.Fatalf("the child ended by itself after %d predictions", n)
	}
}
