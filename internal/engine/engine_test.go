package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/pipeline"
)

type script struct {
	funcs map[string]pipeline.Func
	steps map[string]pipeline.Step
}

func openAll(t *testing.T, dir string, s script, o Options) (*Engine, *ledger.Ledger) {
	t.Helper()
	l, err := ledger.Open(t.Context(), filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	o.Path = filepath.Join(dir, "engine.db")
	if o.RetryBase == 0 {
		o.RetryBase, o.RetryMax = time.Millisecond, 4*time.Millisecond
	}
	e, err := Open(t.Context(), o, s.funcs, s.steps, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(5 * time.Second); err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, l
}

// single is a pipeline of one step.
func single(f pipeline.Step) script {
	return script{
		funcs: map[string]pipeline.Func{"p": func(r pipeline.Run, in json.RawMessage) (any, error) {
			var out json.RawMessage
			err := r.Do("s", in, &out)
			return out, err
		}},
		steps: map[string]pipeline.Step{"s": f},
	}
}

func TestARunGivesItsResultAndTheLedgerFollows(t *testing.T) {
	var told []ledger.Run
	e, l := openAll(t, t.TempDir(), single(func(_ context.Context, id string, in json.RawMessage) (any, error) {
		return map[string]string{"id": id, "in": string(in)}, nil
	}), Options{Finished: func(r ledger.Run, _ time.Duration) { told = append(told, r) }})
	if err := e.Start(t.Context(), "p-1", "p", 7); err != nil {
		t.Fatal(err)
	}
	var out map[string]string
	if err := e.Wait(t.Context(), "p-1", &out); err != nil {
		t.Fatal(err)
	}
	if out["id"] != "p-1" || out["in"] != "7" {
		t.Errorf("result %v", out)
	}
	row, err := l.Run(t.Context(), "p-1")
	if err != nil || row.State != ledger.RunDone || row.StartedAt.IsZero() || row.FinishedAt.IsZero() || string(row.Input) != "7" {
		t.Errorf("row %+v, %v", row, err)
	}
	for e.Active() > 0 {
		time.Sleep(time.Millisecond)
	}
	if len(told) != 1 || told[0].ID != "p-1" || told[0].State != ledger.RunDone {
		t.Errorf("told of %+v, want p-1 done once", told)
	}
}

func TestStartIsIdempotentByID(t *testing.T) {
	var ran atomic.Int32
	s := single(func(context.Context, string, json.RawMessage) (any, error) { return ran.Add(1), nil })
	dir := t.TempDir()
	e, _ := openAll(t, dir, s, Options{})
	for range 5 {
		if err := e.Start(t.Context(), "p-1", "p", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Wait(t.Context(), "p-1", nil); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context(), "p-1", "p", nil); err != nil {
		t.Fatal(err)
	}
	if n := ran.Load(); n != 1 {
		t.Errorf("the step ran %d times, want once", n)
	}
}

func TestFailures(t *testing.T) {
	for _, tt := range []struct {
		name      string
		step      func(n int32) error
		wantRuns  int32
		wantState string
		wantText  string
	}{
		{"a transient error is repeated until it is gone", func(n int32) error {
			if n < 3 {
				return errors.New("connection refused")
			}
			return nil
		}, 3, ledger.RunDone, ""},
		{"a transient error is repeated a bounded number of times", func(int32) error { return errors.New("connection refused") },
			4, ledger.RunFailed, "s: gave up after 4 attempts: connection refused"},
		{"a permanent error fails at once", func(int32) error { return fmt.Errorf("no such class: %w", dg.ErrInvalid) },
			1, ledger.RunFailed, "s: no such class: invalid"},
		{"a panic fails the run, not the process", func(int32) error { panic("index out of range") },
			1, ledger.RunFailed, "panic: index out of range"},
		{"somebody else's cancelled context is no cancellation", func(int32) error { return context.Canceled },
			4, ledger.RunFailed, "context canceled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ran atomic.Int32
			e, l := openAll(t, t.TempDir(), single(func(context.Context, string, json.RawMessage) (any, error) {
				return nil, tt.step(ran.Add(1))
			}), Options{Attempts: 4})
			if err := e.Start(t.Context(), "p-1", "p", nil); err != nil {
				t.Fatal(err)
			}
			err := e.Wait(t.Context(), "p-1", nil)
			row, _ := l.Run(t.Context(), "p-1")
			if row.State != tt.wantState || !strings.Contains(row.Error, tt.wantText) || ran.Load() != tt.wantRuns {
				t.Errorf("state %q, error %q after %d runs; want %q, %q after %d", row.State, row.Error, ran.Load(), tt.wantState, tt.wantText, tt.wantRuns)
			}
			if (err == nil) != (tt.wantState == ledger.RunDone) {
				t.Errorf("Wait: %v", err)
			}
		})
	}
}

func TestAStepsErrorKeepsItsKind(t *testing.T) {
	s := script{
		funcs: map[string]pipeline.Func{"p": func(r pipeline.Run, _ json.RawMessage) (any, error) {
			err := r.Do("s", nil, nil)
			return map[string]bool{"conflict": errors.Is(err, dg.ErrConflict), "invalid": errors.Is(err, dg.ErrInvalid)}, nil
		}},
		steps: map[string]pipeline.Step{"s": func(context.Context, string, json.RawMessage) (any, error) {
			return nil, fmt.Errorf("champion moved: %w", dg.ErrConflict)
		}},
	}
	e, _ := openAll(t, t.TempDir(), s, Options{})
	if err := e.Start(t.Context(), "p-1", "p", nil); err != nil {
		t.Fatal(err)
	}
	var got map[string]bool
	if err := e.Wait(t.Context(), "p-1", &got); err != nil || !got["conflict"] || got["invalid"] {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestCancelEndsARunningStep(t *testing.T) {
	begun := make(chan struct{})
	e, l := openAll(t, t.TempDir(), single(func(ctx context.Context, _ string, _ json.RawMessage) (any, error) {
		close(begun)
		<-ctx.Done()
		return nil, ctx.Err()
	}), Options{})
	if err := e.Start(t.Context(), "p-1", "p", nil); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := e.Cancel(t.Context(), "p-1"); err != nil {
		t.Fatal(err)
	}
	if err := e.Wait(t.Context(), "p-1", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v, want cancelled", err)
	}
	if row, _ := l.Run(t.Context(), "p-1"); row.State != ledger.RunCancelled {
		t.Errorf("state %q", row.State)
	}
	if err := e.Cancel(t.Context(), "p-1"); !errors.Is(err, dg.ErrRefused) {
		t.Errorf("second cancel: %v, want refused", err)
	}
	if err := e.Cancel(t.Context(), "nobody"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("cancel of an unknown run: %v", err)
	}
}

func TestCancelCutsThePauseBetweenAttemptsShort(t *testing.T) {
	tried := make(chan struct{}, 1)
	e, l := openAll(t, t.TempDir(), single(func(context.Context, string, json.RawMessage) (any, error) {
		tried <- struct{}{}
		return nil, errors.New("down")
	}), Options{RetryBase: time.Hour, RetryMax: time.Hour})
	if err := e.Start(t.Context(), "p-1", "p", nil); err != nil {
		t.Fatal(err)
	}
	<-tried
	if err := e.Cancel(t.Context(), "p-1"); err != nil {
		t.Fatal(err)
	}
	_ = e.Wait(t.Context(), "p-1", nil)
	if row, _ := l.Run(t.Context(), "p-1"); row.State != ledger.RunCancelled {
		t.Errorf("state %q", row.State)
	}
}

func TestACancelThatComesAfterThePointOfNoReturnIsTooLate(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	e, l := openAll(t, t.TempDir(), single(func(context.Context, string, json.RawMessage) (any, error) {
		close(begun)
		<-finish // heeds no context
		return "promoted", nil
	}), Options{})
	if err := e.Start(t.Context(), "p-1", "p", nil); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := e.Cancel(t.Context(), "p-1"); err != nil {
		t.Fatal(err)
	}
	close(finish)
	if err := e.Wait(t.Context(), "p-1", nil); err != nil {
		t.Errorf("Wait: %v", err)
	}
	if row, _ := l.Run(t.Context(), "p-1"); row.State != ledger.RunDone || string(row.Result) != `"promoted"` {
		t.Errorf("row %+v", row)
	}
}

func TestRestartRunsAFailedRunAgain(t *testing.T) {
	var ran atomic.Int32
	e, l := openAll(t, t.TempDir(), single(func(context.Context, string, json.RawMessage) (any, error) {
		if ran.Add(1) == 1 {
			return nil, dg.ErrRefused
		}
		return "good", nil
	}), Options{})
	if err := e.Start(t.Context(), "p-1", "p", 1); err != nil {
		t.Fatal(err)
	}
	if err := e.Wait(t.Context(), "p-1", nil); err == nil {
		t.Fatal("the first attempt succeeded")
	}
	for range 2 { // the second does nothing: the run is done or under way
		if err := e.Restart(t.Context(), "p-1"); err != nil {
			t.Fatal(err)
		}
		if err := e.Wait(t.Context(), "p-1", nil); err != nil {
			t.Fatal(err)
		}
	}
	if row, _ := l.Run(t.Context(), "p-1"); row.State != ledger.RunDone || row.Error != "" || ran.Load() != 2 {
		t.Errorf("row %+v after %d runs", row, ran.Load())
	}
}

func TestShutdownLeavesARunForTheNextStart(t *testing.T) {
	dir := t.TempDir()
	begun := make(chan struct{}, 2)
	var first atomic.Bool
	first.Store(true)
	s := single(func(ctx context.Context, _ string, _ json.RawMessage) (any, error) {
		begun <- struct{}{}
		if first.Load() {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return "second", nil
	})
	e, l := openAll(t, dir, s, Options{})
	if err := e.StartFor(t.Context(), "p-1", "p", "m", nil); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := e.Close(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if row, _ := l.Run(t.Context(), "p-1"); row.State != ledger.RunRunning {
		t.Fatalf("state after shutdown %q, want running", row.State)
	}
	first.Store(false)
	e2, _ := openAll(t, dir, s, Options{})
	var out string
	if err := e2.Wait(t.Context(), "p-1", &out); err != nil || out != "second" {
		t.Errorf("result %q, %v", out, err)
	}
}

func TestARunThatOnlyTheLedgerKnowsIsBegun(t *testing.T) {
	dir := t.TempDir()
	l, err := ledger.Open(t.Context(), filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.BeginRun(t.Context(), ledger.Run{ID: "p-1", Pipeline: "p", Input: json.RawMessage("3"), StartedAt: time.Now()})
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	e, _ := openAll(t, dir, single(func(_ context.Context, _ string, in json.RawMessage) (any, error) { return in, nil }), Options{})
	var out int
	if err := e.Wait(t.Context(), "p-1", &out); err != nil || out != 3 {
		t.Errorf("result %d, %v", out, err)
	}
}

func TestNoTwoRunsOfOneModel(t *testing.T) {
	release := make(chan struct{})
	e, _ := openAll(t, t.TempDir(), single(func(context.Context, string, json.RawMessage) (any, error) { <-release; return nil, nil }), Options{})
	if err := e.StartFor(t.Context(), "p-1", "p", "garments", nil); err != nil {
		t.Fatal(err)
	}
	if err := e.StartFor(t.Context(), "p-2", "p", "garments", nil); !errors.Is(err, dg.ErrBusy) {
		t.Errorf("second run of the model: %v, want busy", err)
	}
	if err := e.StartFor(t.Context(), "p-3", "p", "shoes", nil); err != nil {
		t.Errorf("run of another model: %v", err)
	}
	close(release)
	if err := errors.Join(e.Wait(t.Context(), "p-1", nil), e.Wait(t.Context(), "p-3", nil)); err != nil {
		t.Fatal(err)
	}
	if err := e.StartFor(t.Context(), "p-2", "p", "garments", nil); err != nil {
		t.Errorf("after the first ended: %v", err)
	}
	if err := e.Wait(t.Context(), "p-2", nil); err != nil {
		t.Fatal(err)
	}
}

func TestSweptRunsStayDone(t *testing.T) {
	var ran atomic.Int32
	e, _ := openAll(t, t.TempDir(), single(func(context.Context, string, json.RawMessage) (any, error) { return ran.Add(1), nil }), Options{Keep: 3})
	for i := range 10 {
		id := fmt.Sprint("p-", i)
		if err := e.Start(t.Context(), id, "p", nil); err != nil {
			t.Fatal(err)
		}
		if err := e.Wait(t.Context(), id, nil); err != nil {
			t.Fatal(err)
		}
	}
	for e.Active() > 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // the last record is final an instant after its row
	if err := e.sweep(); err != nil {
		t.Fatal(err)
	}
	if n := e.kept(t); n != 3 {
		t.Errorf("%d kept, want 3", n)
	}
	for i := range 10 {
		if err := e.Start(t.Context(), fmt.Sprint("p-", i), "p", nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := ran.Load(); n != 10 {
		t.Errorf("the step ran %d times, want 10: a swept run ran again", n)
	}
}

func TestBadInputIsRefusedClearly(t *testing.T) {
	e, _ := openAll(t, t.TempDir(), single(func(context.Context, string, json.RawMessage) (any, error) { return nil, nil }), Options{})
	if err := e.Start(t.Context(), "x", "nonsense", nil); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("unknown pipeline: %v", err)
	}
	if err := e.Start(t.Context(), "x", "p", func() {}); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("input that is no JSON: %v", err)
	}
	if err := e.Wait(t.Context(), "nobody", nil); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("unknown run: %v", err)
	}
	for _, path := range []string{"", "relative.db", "/a?b"} {
		if _, err := Open(t.Context(), Options{Path: path}, nil, nil, nil); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("path %q: %v", path, err)
		}
	}
	t.Setenv("DBOS__APPVERSION", "other")
	_, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "e.db")}, nil, nil, nil)
	if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "DBOS__APPVERSION") {
		t.Errorf("another version in the environment: %v", err)
	}
}
