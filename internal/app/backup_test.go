package app

import (
	"context"
	"encoding/base64"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"driftgate/internal/config"
	"driftgate/internal/dataset"
)

// predicting sends predictions until stop; so far counts those acknowledged.
func predicting(t *testing.T, client *Client) (soFar func() int, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var served atomic.Int64
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(1, 2))
		for ctx.Err() == nil {
			png, err := dataset.EncodePNG(dataset.Garment(rng.IntN(10), dataset.Drift{}, rng), 28, 28, 1)
			if err != nil {
				t.Error(err)
				return
			}
			if client.Post(context.WithoutCancel(ctx), "/predict", map[string]string{"image": base64.StdEncoding.EncodeToString(png)}, nil) == nil {
				served.Add(1)
			}
			time.Sleep(2 * time.Millisecond)
		}
	})
	return func() int { return int(served.Load()) }, func() {
		cancel()
		wg.Wait()
	}
}

// predictions is how many of the last day the ledger counts.
func predictions(t *testing.T, client *Client) int {
	t.Helper()
	var a struct{ Predictions int }
	if err := client.Get(t.Context(), "/api/v1/accuracy?window=24h", &a); err != nil {
		t.Fatal(err)
	}
	return a.Predictions
}

// TestABackupTakenWhileServingRestores follows docs/backup.md: ledger
// first, then the spool, then the objects, all under traffic; then a gateway on the copy.
func TestABackupTakenWhileServingRestores(t *testing.T) {
	c := folder(t)
	c.HTTP.RatePerIP = 0
	c.Curate.Paused = true
	inherit(t, c)
	client, stop := started(t, c)
	soFar, end := predicting(t, client)
	time.Sleep(time.Second)
	before := soFar()
	copied := c
	copied.Dir = filepath.Join(t.TempDir(), "restored")
	restore(t, c, copied.Dir)
	time.Sleep(300 * time.Millisecond)
	end()
	served := soFar()
	stop()
	if before < 5 || served == before {
		t.Fatalf("%d predictions before the backup, %d in all: the test proves nothing", before, served)
	}

	client, stop = started(t, copied)
	if report, lines := looked(t, copied); !report.OK || lines["champion"].Status != CheckOK {
		t.Errorf("check of the restored folder: %+v", report)
	}
	// The spool's copy is uploaded first; then the ledger is made to agree.
	kept := 0
	for end := time.Now().Add(20 * time.Second); kept < before && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err := client.Post(t.Context(), "/api/v1/ledger/rebuild", nil, nil); err != nil {
			t.Fatal(err)
		}
		kept = predictions(t, client)
	}
	if kept < before || kept > served {
		t.Errorf("%d predictions restored, want from %d (acknowledged before the backup) to %d", kept, before, served)
	}
	var history struct{ Runs []struct{ ID string } }
	if err := client.Get(t.Context(), "/api/v1/runs?pipeline=train", &history); err != nil || len(history.Runs) != 2 {
		t.Errorf("run history, which only the ledger has: %+v, %v, want 2 runs", history, err)
	}
	stop()
}

func TestAStoppedGatewayHasUploadedItsSpool(t *testing.T) {
	c := folder(t)
	c.HTTP.RatePerIP = 0
	inherit(t, c)
	client, stop := started(t, c)
	soFar, end := predicting(t, client)
	for soFar() < 10 {
		time.Sleep(time.Millisecond)
	}
	end()
	began := time.Now()
	stop()
	if took := time.Since(began); took > c.Shutdown/2 {
		t.Errorf("stopping took %s, of at most %s", took, c.Shutdown)
	}
	left, err := filepath.Glob(filepath.Join(c.Dir, "spool", "*.rec"))
	if err != nil || len(left) > 0 {
		t.Errorf("%d predictions left on the spool of %d, %v", len(left), soFar(), err)
	}
}

// restore backs c's folder up into dir, as docs/backup.md says.
func restore(t *testing.T, c config.Config, dir string) {
	t.Helper()
	write(t, filepath.Join(dir, ".keep"), "", 0o600)
	if size, err := BackupLedger(t.Context(), c, filepath.Join(dir, "ledger.db")); err != nil || size == 0 {
		t.Fatalf("%d bytes, %v", size, err)
	}
	for _, part := range []string{"token", "spool", "objects"} {
		out, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(c.Dir, part), dir).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			// A record that was uploaded, or an upload that was finished, while cp came to it.
			if !strings.Contains(line, "No such file or directory") {
				t.Errorf("cp: %v: %s", err, line)
			}
		}
	}
}
