package trainer

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"driftgate/internal/network"
)

func TestKillingTheChildInASearchLosesAnEpochAtMost(t *testing.T) {
	job, _ := cluster(t)
	o := trying(t, Halving, 5).Options
	o.Replay = 1500
	job.Options = o
	pidFile := filepath.Join(t.TempDir(), "pid")
	t.Setenv(pidEnv, pidFile)
	exe := self(t)
	key, err := job.key()
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := Spawn(t.Context(), exe, nil, job, nil)
		failed <- err
	}()
	// The second round is under way.
	wait(t, "the second round", func() bool {
		b, err := os.ReadFile(filepath.Join(job.Dir, trialsDir, standingFile))
		return err == nil && strings.Contains(string(b), `"round":1`) && strings.Contains(string(b), key)
	})
	if err := syscall.Kill(childPID(t, pidFile), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("Spawn of a killed child: %v", err)
	}
	first := Progress{}
	files, err := Spawn(t.Context(), exe, nil, job, func(p Progress) {
		if p.Phase == Training && first.Round == 0 {
			first = p
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if first.Round < 2 {
		t.Errorf("went on in round %d: the first was done", first.Round)
	}
	a, _, err := network.ReadArtifact(files)
	if err != nil {
		t.Fatal(err)
	}
	job.Dir = t.TempDir()
	whole, err := Train(t.Context(), job, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ageless(t, a) != ageless(t, whole) {
		t.Error("killed and resumed gave another artifact than uninterrupted")
	}
}
