package trainer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
)

// The test binary plays the other processes: a child, or a parent that spawns
// one and is then killed.
const (
	roleEnv = "DRIFTGATE_TRAINER_TEST_ROLE"
	jobEnv  = "DRIFTGATE_TRAINER_TEST_JOB" // path of the parent's job
	pidEnv  = "DRIFTGATE_TRAINER_TEST_PID" // where the child writes its process id
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "child":
		os.Exit(playChild())
	case "parent":
		os.Exit(playParent())
	case "mute": // a child that dies without a word
		fmt.Fprintln(os.Stderr, "no room on the moon")
		os.Exit(7)
	}
	os.Exit(m.Run())
}

func playChild() int {
	if path := os.Getenv(pidEnv); path != "" {
		if err := writeFile(path, []byte(strconv.Itoa(os.Getpid()))); err != nil {
			return 3
		}
	}
	err := Child(context.Background(), os.Stdin, os.Stdout)
	if path := os.Getenv(peakEnv); path != "" {
		err = errors.Join(err, os.WriteFile(path, []byte(strconv.Itoa(peakMemory())), 0o600))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func playParent() int {
	b, err := os.ReadFile(os.Getenv(jobEnv))
	var job Job
	if err == nil {
		err = json.Unmarshal(b, &job)
	}
	if err == nil {
		_ = os.Setenv(roleEnv, "child")
		_, err = Spawn(context.Background(), os.Args[0], nil, job, nil)
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// cluster starts a real store with the garments in it and returns a job on it.
func cluster(t *testing.T) (Job, *objstore.Store) {
	t.Helper()
	ctx := t.Context()
	srv, err := embedded.Start(ctx, embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	access, secret := srv.Credentials()
	job := quick(t)
	job.Store = objstore.Options{Endpoint: srv.Endpoint(), AccessKey: access, SecretKey: secret}
	store, err := objstore.Open(job.Store)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.EnsureBuckets(ctx, buckets.All()...); err != nil {
		t.Fatal(err)
	}
	ref, err := dataset.Save(ctx, store.Bucket(buckets.Datasets), garments())
	if err != nil {
		t.Fatal(err)
	}
	job.Dataset = string(ref)
	return job, store
}

// self is this test binary in the role of a child.
func self(t *testing.T) string {
	t.Helper()
	t.Setenv(roleEnv, "child")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// endless is a job that does not finish within a test, with an epoch every few
// milliseconds.
func endless(job Job) Job {
	job.Options.Epochs, job.Options.Replay = 100_000, 100
	return job
}

func childPID(t *testing.T, path string) int {
	t.Helper()
	var pid int
	wait(t, "the child's process id", func() bool {
		b, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(string(b))
		return err == nil
	})
	return pid
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}

// alive tells a running process from an ended one, reaped or not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	return !bytes.HasPrefix(rest, []byte("Z"))
}

func TestSpawnTrainsOnStoredImagesAsTrainDoes(t *testing.T) {
	job, store := cluster(t)
	mem := newMemory()
	job.Examples = examplesOf(t, mem, 25)
	for _, e := range job.Examples {
		if _, err := store.Put(t.Context(), e.Bucket, e.Key, mem.images[e.Bucket+"/"+e.Key], objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Delete(t.Context(), job.Examples[3].Bucket, job.Examples[3].Key); err != nil {
		t.Fatal(err)
	}
	phases := map[string]bool{}
	files, err := Spawn(t.Context(), self(t), []string{"train-child"}, job, func(p Progress) { phases[p.Phase] = true })
	if err != nil {
		t.Fatal(err)
	}
	a, _, err := network.ReadArtifact(files)
	if err != nil {
		t.Fatal(err)
	}
	if !phases[Loading] || !phases[Training] || !phases[Done] {
		t.Errorf("phases %v", phases)
	}
	if c := a.Manifest.Counts; c["skipped"] != 1 || c["human"]+c["proxy"] != 24 {
		t.Errorf("counts %v", c)
	}
	here := job
	here.Dir = t.TempDir()
	b, err := Train(t.Context(), here, nil)
	if err != nil {
		t.Fatal(err)
	}
	if timeless(t, a) != timeless(t, b) {
		t.Error("the child's artifact is not the one that Train makes")
	}
	// A step that is run again: no child at all is needed.
	again, err := Spawn(t.Context(), filepath.Join(t.TempDir(), "missing"), nil, job, nil)
	if err != nil || network.Digest(again) != network.Digest(files) {
		t.Errorf("done already: %v, %s, want %s", err, network.Digest(again), network.Digest(files))
	}
	checkNoSecrets(t, job)
}

// checkNoSecrets looks for the store's secret in everything the job left.
func checkNoSecrets(t *testing.T, job Job) {
	t.Helper()
	err := filepath.WalkDir(job.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(job.Store.SecretKey)) {
			t.Errorf("%s holds the store's secret", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestKillingTheChildLosesAnEpochAtMost(t *testing.T) {
	t.Run(network.FamilyMLP, func(t *testing.T) {
		killed(t, func(o *Options) { o.Epochs, o.Replay = 60, 1500 })
	})
	t.Run(network.FamilyCNN, func(t *testing.T) {
		killed(t, func(o *Options) {
			convolutional(o)
			o.Epochs = 12
		})
	})
}

// killed kills a training process after two epochs with the signal that no
// process sees, and looks whether another goes on as if nothing had been.
func killed(t *testing.T, change func(*Options)) {
	t.Helper()
	job, _ := cluster(t)
	change(&job.Options)
	pidFile := filepath.Join(t.TempDir(), "pid")
	t.Setenv(pidEnv, pidFile)
	exe := self(t)
	spec := job.Options.spec(garments())

	failed := make(chan error, 1)
	go func() {
		_, err := Spawn(t.Context(), exe, nil, job, nil)
		failed <- err
	}()
	wait(t, "two epochs", func() bool { s, err := readCheckpoint(job.Dir, spec, spec); return err == nil && s.Epoch >= 2 })
	if err := syscall.Kill(childPID(t, pidFile), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("Spawn of a killed child: %v", err)
	}
	before, err := readCheckpoint(job.Dir, spec, spec)
	if err != nil {
		t.Fatal(err)
	}
	first := 0
	files, err := Spawn(t.Context(), exe, nil, job, func(p Progress) {
		if p.Phase == Training && first == 0 {
			first = p.Epoch
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if first != before.Epoch+1 {
		t.Errorf("went on in epoch %d, the checkpoint held %d", first, before.Epoch)
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
	if timeless(t, a) != timeless(t, whole) {
		t.Error("killed and resumed gave another artifact than uninterrupted")
	}
}

func TestKillingTheParentEndsTheChild(t *testing.T) {
	job, _ := cluster(t)
	dir := t.TempDir()
	b, err := json.Marshal(endless(job))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "job.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self(t))
	parent.Env = append(os.Environ(), roleEnv+"=parent", jobEnv+"="+filepath.Join(dir, "job.json"), pidEnv+"="+filepath.Join(dir, "pid"))
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	child := childPID(t, filepath.Join(dir, "pid"))
	wait(t, "training", func() bool { _, err := os.Stat(filepath.Join(job.Dir, checkpointFile)); return err == nil })
	if nice, err := syscall.Getpriority(syscall.PRIO_PGRP, child); err != nil || nice != 20-niceness { // all threads; the call answers 20 - nice
		t.Errorf("child's priority: %d, %v; want niceness %d", 20-nice, err, niceness)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed: its error is what was asked for
	wait(t, "the orphan's end", func() bool { return !alive(child) })
}

func TestCancellingStopsTheChildAndKeepsTheCheckpoint(t *testing.T) {
	job, _ := cluster(t)
	job = endless(job)
	pidFile := filepath.Join(t.TempDir(), "pid")
	t.Setenv(pidEnv, pidFile)
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	_, err := Spawn(ctx, self(t), nil, job, func(p Progress) {
		if p.Epoch >= 3 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if took := time.Since(began); took > grace {
		t.Errorf("took %s: the child did not stop on SIGTERM", took)
	}
	if pid := childPID(t, pidFile); alive(pid) {
		t.Errorf("child %d is still there", pid)
	}
	s, err := readCheckpoint(job.Dir, network.MLP(network.Flat(784), []int{16}, 10), network.MLP(network.Flat(784), []int{16}, 10))
	if err != nil || s.Epoch < 2 {
		t.Errorf("checkpoint %+v, %v", s, err)
	}
}

func TestAChildsErrorsKeepTheirKind(t *testing.T) {
	job, _ := cluster(t)
	exe := self(t)
	for _, tt := range []struct {
		name   string
		change func(*Job)
		is     []error
		want   string
	}{
		{"unknown dataset", func(j *Job) { j.Dataset = "nothing@0123456789ab" }, []error{dg.ErrNotFound}, "nothing@0123456789ab"},
		{"diverged", func(j *Job) { j.Options.LearningRate, j.Options.Momentum = 1e6, 0.9 }, []error{network.ErrDiverged, dg.ErrInvalid}, "learning_rate"},
		{"nothing to train on", func(j *Job) { j.Options.Replay = 0 }, []error{dg.ErrTooFewSamples}, "nothing to train on"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			job := job
			job.Dir = t.TempDir()
			tt.change(&job)
			_, err := Spawn(t.Context(), exe, nil, job, nil)
			for _, kind := range tt.is {
				if !errors.Is(err, kind) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %v with %q", err, kind, tt.want)
				}
			}
		})
	}
	t.Run("a child that dies without a word is quoted", func(t *testing.T) {
		t.Setenv(roleEnv, "mute")
		if _, err := Spawn(t.Context(), exe, nil, job, nil); err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.Contains(err.Error(), "no room on the moon") {
			t.Errorf("error %v", err)
		}
	})
}

func TestChildRefusesWhatIsNoJob(t *testing.T) {
	for name, in := range map[string]string{"nothing": "", "no JSON": "hello\n", "a line without end": `{"run_id":"x"}`, "an empty job": "{}\n"} {
		var out bytes.Buffer
		err := Child(t.Context(), strings.NewReader(in), &out)
		var m message
		if jsonErr := json.Unmarshal(out.Bytes(), &m); !errors.Is(err, dg.ErrInvalid) || jsonErr != nil || m.Kind != "invalid" {
			t.Errorf("%s: error %v, last word %q", name, err, out.String())
		}
	}
}
