package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/pipeline"
	"driftgate/internal/telemetry"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	_ "github.com/dbos-inc/dbos-transact-golang/dbos/driver/sqlite" // the system database's driver
)

// Pinned, because a run belongs to the version and executor that started it: a
// new build must go on with the runs of the old one. Pipelines change only in
// ways that replay (add steps at the end, or give the pipeline a new name).
const (
	applicationVersion = "pipelines-v1"
	executorID         = "gateway"
	workflowName       = "pipeline"
)

// Options is how runs are kept and repeated. The zero value of each figure
// means its default.
type Options struct {
	Path       string        // the SQLite file, absolute; created when there is none
	Attempts   int           // how often a step is tried in all; default 8
	RetryBase  time.Duration // pause after the first failure, doubled each time; default 500ms
	RetryMax   time.Duration // longest pause; default 30s: 8 attempts outlast a store that is gone for a minute
	Keep       int           // finished runs kept in the engine's own file; default 1000
	KeepLedger int           // finished runs of small pipelines kept in the ledger; default 20000
	Now        func() time.Time
	Tracer     *telemetry.Tracer // makes a trace of each run
	Logger     *slog.Logger
	// Finished is told of each run that reached a final state, once in this
	// process, with how long it worked here; nil: nobody is.
	Finished func(r ledger.Run, took time.Duration)
}

func (o Options) withDefaults() Options {
	if o.Attempts <= 0 {
		o.Attempts = 8
	}
	if o.RetryBase <= 0 {
		o.RetryBase = 500 * time.Millisecond
	}
	if o.RetryMax <= 0 {
		o.RetryMax = 30 * time.Second
	}
	if o.Keep <= 0 {
		o.Keep = 1000
	}
	if o.KeepLedger <= 0 {
		o.KeepLedger = 20_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Finished == nil {
		o.Finished = func(ledger.Run, time.Duration) {}
	}
	return o
}

// Engine runs pipelines. It is safe for concurrent use.
type Engine struct {
	o      Options
	log    *slog.Logger
	ledger *ledger.Ledger
	funcs  map[string]pipeline.Func
	steps  map[string]pipeline.Step
	dbos   dbos.Context

	mu        sync.Mutex
	active    map[string]*activeRun // from the start of work to its end
	closing   bool
	finished  int // since the last sweep
	sweepDone chan struct{}
}

// activeRun is a run that this process works on.
type activeRun struct {
	cancel context.CancelCauseFunc
	ctx    context.Context // done when the run is cancelled
	done   chan struct{}   // closed when the run is worked on no more
}

// call is the input of the one workflow that runs every pipeline.
type call struct {
	Pipeline string          `json:"pipeline"`
	Input    json.RawMessage `json:"input,omitempty"`
	Trace    string          `json:"trace,omitempty"` // W3C traceparent of who started it
}

// Open opens the engine's file and goes on with every unfinished run. All
// pipelines and steps must be given: a run of one that is missing fails.
func Open(ctx context.Context, o Options, funcs map[string]pipeline.Func, steps map[string]pipeline.Step, l *ledger.Ledger) (*Engine, error) {
	o = o.withDefaults()
	if !filepath.IsAbs(o.Path) || strings.ContainsAny(o.Path, "?#") {
		return nil, fmt.Errorf("engine: open %q: want a file by its absolute path, without ? and #: %w", o.Path, dg.ErrInvalid)
	}
	e := &Engine{o: o, log: o.Logger.With("component", "engine"), ledger: l, funcs: funcs, steps: steps, active: map[string]*activeRun{}}
	var err error
	e.dbos, err = dbos.NewContext(context.WithoutCancel(ctx), dbos.Config{
		AppName:            "driftgate",
		DatabaseURL:        (&url.URL{Scheme: "sqlite", Path: filepath.ToSlash(o.Path)}).String(),
		ApplicationVersion: applicationVersion,
		ExecutorID:         executorID,
		Logger:             slog.New(quiet{e.log.Handler()}),
	})
	if err != nil {
		return nil, fmt.Errorf("engine: open %s: %w", o.Path, err)
	}
	if v, id := e.dbos.GetApplicationVersion(), e.dbos.GetExecutorID(); v != applicationVersion || id != executorID {
		err := fmt.Errorf("DBOS__APPVERSION=%q and DBOS__VMID=%q are set in the environment: unset them, runs would not be found again: %w", v, id, dg.ErrInvalid)
		return nil, errors.Join(fmt.Errorf("engine: open %s: %w", o.Path, err), dbos.Shutdown(e.dbos, time.Second))
	}
	dbos.RegisterWorkflow(e.dbos, e.work, dbos.WithWorkflowName(workflowName))
	if err := dbos.Launch(e.dbos); err != nil { // goes on with what this executor left
		return nil, fmt.Errorf("engine: open %s: %w", o.Path, err)
	}
	if err := e.reconcile(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("engine: open %s: %w", o.Path, err), e.Close(5*time.Second))
	}
	return e, nil
}

// Start begins the run id of a pipeline, unless it was started before: then it
// does nothing, whatever became of it. A run that the ledger has as requested
// keeps the input it was requested with. The error is [driftgate.ErrInvalid]
// for an unknown pipeline, [driftgate.ErrBusy] when another run of the same
// model is under way; for which model that is, see [Engine.StartFor].
func (e *Engine) Start(ctx context.Context, id, pipelineName string, in any) error {
	return e.StartFor(ctx, id, pipelineName, "", in)
}

// StartFor is [Engine.Start] for a run that may change the named model: no two
// of those are under way at once.
func (e *Engine) StartFor(ctx context.Context, id, pipelineName, model string, in any) error {
	fail := func(err error) error { return fmt.Errorf("engine: start %s: %w", id, err) }
	if e.funcs[pipelineName] == nil {
		return fail(fmt.Errorf("pipeline %q is not known: %w", pipelineName, dg.ErrInvalid))
	}
	input, err := json.Marshal(in)
	if err != nil {
		return fail(fmt.Errorf("input: %w: %w", err, dg.ErrInvalid))
	}
	row, err := e.ledger.BeginRun(ctx, ledger.Run{ID: id, Pipeline: pipelineName, Model: model, Input: input, StartedAt: e.o.Now()})
	if err != nil {
		return fail(err)
	}
	if row.Finished() {
		return nil
	}
	if err := e.launch(row, telemetry.Traceparent(ctx)); err != nil {
		return fail(err)
	}
	return nil
}

// launch hands a running row to DBOS, which ignores an id that it has.
func (e *Engine) launch(row ledger.Run, trace string) error {
	e.mu.Lock()
	closing := e.closing
	e.mu.Unlock()
	if closing {
		return fmt.Errorf("the engine is closing; the run goes on at the next start: %w", dg.ErrBusy)
	}
	_, err := dbos.RunWorkflow(e.dbos, e.work, call{row.Pipeline, row.Input, trace}, dbos.WithWorkflowID(row.ID))
	return err // the outcome will be in the ledger
}

// Restart begins a failed or cancelled run again, from its first step; any
// other is left alone. The error may be [driftgate.ErrNotFound] or
// [driftgate.ErrBusy].
func (e *Engine) Restart(ctx context.Context, id string) error {
	fail := func(err error) error { return fmt.Errorf("engine: restart %s: %w", id, err) }
	row, err := e.ledger.RestartRun(ctx, id, e.o.Now())
	if err != nil {
		return fail(err)
	}
	if row.State != ledger.RunRequested {
		return nil
	}
	if err := e.forget(ctx, id); err != nil {
		return fail(err)
	}
	return e.StartFor(ctx, id, row.Pipeline, row.Model, row.Input)
}

// Wait returns when the run has reached a final state, and decodes its result
// into out (nil: not wanted). The run's own failure is the error; its kind is
// lost, its text is not. A cancelled run's error is [context.Canceled], an
// unknown run's [driftgate.ErrNotFound].
func (e *Engine) Wait(ctx context.Context, id string, out any) error {
	fail := func(err error) error { return fmt.Errorf("engine: wait for %s: %w", id, err) }
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		done := e.doneOf(id)
		row, err := e.ledger.Run(ctx, id)
		switch {
		case err != nil:
			return fail(err)
		case row.State == ledger.RunFailed:
			return fail(errors.New(row.Error))
		case row.State == ledger.RunCancelled:
			return fail(fmt.Errorf("%s: %w", row.Error, context.Canceled))
		case row.State == ledger.RunDone && (out == nil || row.Result == nil):
			return nil
		case row.State == ledger.RunDone:
			if err := json.Unmarshal(row.Result, out); err != nil {
				return fail(err)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return fail(ctx.Err())
		case <-done:
		case <-time.After(pause): // requested, or about to be worked on
		}
	}
}

// Cancel asks an unfinished run to end. A requested one is cancelled at once; a
// running one ends when its step heeds its context, for which [Engine.Wait]
// waits. The error is [driftgate.ErrRefused] when the run is finished,
// [driftgate.ErrNotFound] when it is unknown.
func (e *Engine) Cancel(ctx context.Context, id string) error {
	before, err := e.ledger.Run(ctx, id)
	if err != nil {
		return fmt.Errorf("engine: cancel: %w", err)
	}
	if before.Finished() {
		return fmt.Errorf("engine: cancel %s: it is %s already: %w", id, before.State, dg.ErrRefused)
	}
	row, err := e.ledger.CancelRun(ctx, id, e.o.Now())
	if err != nil {
		return fmt.Errorf("engine: cancel: %w", err)
	}
	if row.State == ledger.RunCancelled {
		e.o.Finished(row, 0)
		return nil
	}
	e.mu.Lock()
	a := e.active[id]
	e.mu.Unlock()
	if a != nil {
		a.cancel(errCancelled)
	}
	return nil
}

// Active returns how many runs this process works on.
func (e *Engine) Active() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.active)
}

// Close stops working and closes the file, waiting at most about timeout.
// Unfinished runs stay running in the ledger and go on at the next Open.
func (e *Engine) Close(timeout time.Duration) error {
	e.mu.Lock()
	if e.closing {
		e.mu.Unlock()
		return nil
	}
	e.closing = true
	sweep := e.sweepDone
	e.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		if sweep != nil {
			<-sweep
		}
		done <- dbos.Shutdown(e.dbos, timeout)
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("engine: close: %w", err)
		}
		return nil
	case <-time.After(timeout + timeout/2):
		return fmt.Errorf("engine: close: still %d runs at work after %s", e.Active(), timeout)
	}
}
