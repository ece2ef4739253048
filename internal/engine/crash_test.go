package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"driftgate/internal/ledger"
	"driftgate/internal/pipeline"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
)

// The crash test's other half: with this variable set, the test binary is a
// gateway with a scripted pipeline in the folder it names.
const childVariable = "DRIFTGATE_ENGINE_CHILD"

const crashRuns = 6

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// note appends one line at once: what a step has done, on disk before it goes on.
func note(dir, format string, args ...any) error {
	f, err := os.OpenFile(filepath.Join(dir, "notes"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, format+"\n", args...)
	return errors.Join(err, f.Close())
}

// crashScript is a pipeline like retrain: draw (a result that differs each
// time), use, promote (an effect under the run's key), report.
func crashScript(dir string) script {
	dawdle := func() { time.Sleep(time.Duration(5+rand.IntN(25)) * time.Millisecond) }
	use := func(step string) pipeline.Step {
		return func(_ context.Context, id string, in json.RawMessage) (any, error) {
			dawdle()
			err := note(dir, "%s %s %s", id, step, in)
			dawdle()
			return string(in), err
		}
	}
	return script{
		steps: map[string]pipeline.Step{
			"draw": func(_ context.Context, id string, _ json.RawMessage) (any, error) {
				dawdle()
				n := rand.Uint32()
				return n, note(dir, "%s draw %d", id, n)
			},
			"use":    use("use"),
			"report": use("report"),
			"promote": func(_ context.Context, id string, in json.RawMessage) (any, error) {
				dawdle()
				f, err := os.OpenFile(filepath.Join(dir, "effect-"+id), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
				if errors.Is(err, os.ErrExist) {
					return "before", note(dir, "%s promote %s", id, in)
				}
				if err != nil {
					return nil, err
				}
				err = errors.Join(f.Close(), note(dir, "%s effect %s", id, in))
				dawdle()
				return "now", errors.Join(err, note(dir, "%s promote %s", id, in))
			},
		},
		funcs: map[string]pipeline.Func{"p": func(r pipeline.Run, _ json.RawMessage) (any, error) {
			var n uint32
			if err := r.Do("draw", nil, &n); err != nil {
				return nil, err
			}
			for _, step := range []string{"use", "promote", "report"} {
				if err := r.Do(step, n, nil); err != nil {
					return nil, err
				}
			}
			return n, nil
		}},
	}
}

// child opens everything, starts what was not started, waits for all to finish.
func child(dir string) error {
	ctx := context.Background()
	l, err := ledger.Open(ctx, filepath.Join(dir, "ledger.db"))
	if err != nil {
		return err
	}
	s := crashScript(dir)
	e, err := Open(ctx, Options{Path: filepath.Join(dir, "engine.db")}, s.funcs, s.steps, l)
	if err != nil {
		return err
	}
	for i := range crashRuns {
		if err := e.Start(ctx, fmt.Sprint("p-", i), "p", nil); err != nil {
			return err
		}
	}
	for i := range crashRuns {
		if err := e.Wait(ctx, fmt.Sprint("p-", i), nil); err != nil {
			return err
		}
	}
	return errors.Join(e.Close(5*time.Second), l.Close())
}

func TestKillAtAnyMomentFinishesEveryRunExactlyOnce(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 1
	}
	var kills int
	for round := range rounds {
		rng := rand.New(rand.NewPCG(uint64(round), 1))
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
			dir := t.TempDir()
			kills += killUntilDone(t, dir, rng)
			checkNotes(t, dir)
		})
	}
	t.Logf("%d kills", kills)
	if kills < rounds {
		t.Errorf("only %d kills: the test proved nothing", kills)
	}
}

// killUntilDone starts the child and kills it, later and later, until one lives
// to the end.
func killUntilDone(t *testing.T, dir string, rng *rand.Rand) (kills int) {
	t.Helper()
	for life := 40 * time.Millisecond; ; life += 8 * time.Millisecond {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+dir)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("child after %d kills: %v\n%s", kills, err, stderr.String())
			}
			return kills
		case <-time.After(life/2 + time.Duration(rng.Int64N(int64(life)))):
			_ = cmd.Process.Kill() // SIGKILL; it may have ended in between
			if err := <-done; err == nil {
				return kills
			}
			kills++
		}
		if kills > 200 {
			t.Fatal("no child ever finished")
		}
	}
}

// checkNotes demands of each run: done, its steps in order, one effect, and one
// drawn number from use onwards, the one in its result.
func checkNotes(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "notes"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	order := map[string]int{"draw": 0, "use": 1, "effect": 2, "promote": 2, "report": 3}
	reached, effects, drawn, used := map[string]int{}, map[string]int{}, map[string]map[string]bool{}, map[string]map[string]bool{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		w := strings.Fields(lines.Text())
		id, step, n := w[0], w[1], w[2]
		if order[step] < reached[id] {
			t.Errorf("%s: %s ran again after a later step had begun", id, step)
		}
		reached[id] = max(reached[id], order[step])
		if drawn[id] == nil {
			drawn[id], used[id] = map[string]bool{}, map[string]bool{}
		}
		switch step {
		case "draw":
			drawn[id][n] = true
		case "effect":
			effects[id]++
		}
		if step != "draw" {
			used[id][n] = true
		}
	}
	l, err := ledger.Open(t.Context(), filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range crashRuns {
		id := fmt.Sprint("p-", i)
		row, err := l.Run(t.Context(), id)
		if err != nil || row.State != ledger.RunDone {
			t.Errorf("%s: %+v, %v", id, row, err)
		}
		if effects[id] > 1 || reached[id] != 3 {
			t.Errorf("%s: %d effects, reached step %d", id, effects[id], reached[id])
		}
		if _, err := os.Stat(filepath.Join(dir, "effect-"+id)); err != nil {
			t.Errorf("%s: no effect: %v", id, err)
		}
		if n := string(row.Result); len(used[id]) != 1 || !used[id][n] || !drawn[id][n] {
			t.Errorf("%s: result %s, used %v, drawn %v: want one number throughout", id, n, used[id], drawn[id])
		}
	}
}

// kept counts the runs in the engine's own file.
func (e *Engine) kept(t testing.TB) int {
	all, err := dbos.ListWorkflows(e.dbos, dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// BenchmarkSmallRun is the cost of one durable run of one step, beginning to
// end: what each curate and collect pays.
func BenchmarkSmallRun(b *testing.B) {
	dir := b.TempDir()
	l, err := ledger.Open(b.Context(), filepath.Join(dir, "ledger.db"))
	if err != nil {
		b.Fatal(err)
	}
	s := single(func(context.Context, string, json.RawMessage) (any, error) { return nil, nil })
	e, err := Open(b.Context(), Options{Path: filepath.Join(dir, "engine.db")}, s.funcs, s.steps, l)
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		id := fmt.Sprint("p-", i)
		i++
		if err := errors.Join(e.Start(b.Context(), id, "p", nil), e.Wait(b.Context(), id, nil)); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(e.Close(5*time.Second), l.Close()); err != nil {
		b.Fatal(err)
	}
}
