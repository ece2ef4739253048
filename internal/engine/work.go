package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/pipeline"
	"driftgate/internal/telemetry"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
)

var errCancelled = fmt.Errorf("cancelled by request: %w", context.Canceled)

// run is a pipeline's view of one execution.
type run struct {
	e    *Engine
	ctx  dbos.Context // ends at shutdown
	me   *activeRun   // ends at cancellation
	id   string
	span telemetry.Span
}

func (r run) ID() string { return r.id }

// outcome is what is kept of a step: an error as text and kinds, so that it is
// the same error after a restart.
type outcome struct {
	Out   json.RawMessage `json:"out,omitempty"`
	Error string          `json:"error,omitempty"`
	Kinds []string        `json:"kinds,omitempty"`
}

// kinds are the sentinels that survive being kept.
var kinds = map[string]error{
	"not_found": dg.ErrNotFound, "conflict": dg.ErrConflict, "invalid": dg.ErrInvalid, "incomplete": dg.ErrIncomplete,
	"busy": dg.ErrBusy, "refused": dg.ErrRefused, "full": dg.ErrFull, "too_few": dg.ErrTooFewSamples,
	"unauthorized": dg.ErrUnauthorized, "cancelled": errCancelled,
}

// stepError is a step's failure as the pipeline sees it.
type stepError struct {
	text  string
	kinds []error
}

func (s *stepError) Error() string   { return s.text }
func (s *stepError) Unwrap() []error { return s.kinds }

func failure(step string, err error) outcome {
	o := outcome{Error: fmt.Sprintf("%s: %v", step, err)}
	for name, kind := range kinds {
		if errors.Is(err, kind) {
			o.Kinds = append(o.Kinds, name)
		}
	}
	return o
}

func (o outcome) err() error {
	if o.Error == "" {
		return nil
	}
	e := &stepError{text: o.Error}
	for _, name := range o.Kinds {
		if kind, ok := kinds[name]; ok {
			e.kinds = append(e.kinds, kind)
		}
	}
	return e
}

// Do runs a step or recalls its result; see [pipeline.Run].
func (r run) Do(step string, in, out any) error {
	f := r.e.steps[step]
	if f == nil {
		return fmt.Errorf("step %q is not known: %w", step, dg.ErrInvalid)
	}
	input, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("%s: input: %w: %w", step, err, dg.ErrInvalid)
	}
	kept, err := dbos.RunAsStep(r.ctx, func(ctx context.Context) (outcome, error) {
		return r.attempt(ctx, step, f, input)
	}, dbos.WithStepName(step))
	if err != nil { // shutdown, or the engine's file failed
		return fmt.Errorf("%s: %w", step, err)
	}
	if err := kept.err(); err != nil {
		return err
	}
	if out == nil || kept.Out == nil {
		return nil
	}
	if err := json.Unmarshal(kept.Out, out); err != nil {
		return fmt.Errorf("%s: result: %w: %w", step, err, dg.ErrInvalid)
	}
	return nil
}

// attempt runs a step until it succeeds, fails for good, or is told to stop. An
// error is returned only at shutdown: then nothing is kept.
func (r run) attempt(ctx context.Context, step string, f pipeline.Step, input json.RawMessage) (kept outcome, err error) {
	ctx, span := telemetry.Start(r.span.In(ctx), "step "+step)
	defer func() { span.Done(cmp.Or(err, kept.err())) }()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(r.me.ctx, func() { stop(errCancelled) })()
	if r.me.ctx.Err() != nil {
		stop(errCancelled) // at once, not when AfterFunc gets to it
	}
	pause := r.e.o.RetryBase
	for n := 1; ; n++ {
		span.SetInt("driftgate.attempts", n)
		out, err := r.once(ctx, step, f, input)
		if err == nil {
			return out, nil
		}
		switch {
		case r.ctx.Err() != nil:
			return outcome{}, context.Cause(r.ctx)
		case r.me.ctx.Err() != nil:
			return failure(step, errCancelled), nil
		case pipeline.Permanent(err):
			return failure(step, err), nil
		case n >= r.e.o.Attempts:
			return failure(step, fmt.Errorf("gave up after %d attempts: %w", n, err)), nil
		}
		r.e.log.WarnContext(ctx, "step failed, will be repeated", "run", r.id, "step", step, "attempt", n, "of", r.e.o.Attempts, "pause", pause, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, r.e.o.RetryMax)
	}
}

func (r run) once(ctx context.Context, step string, f pipeline.Step, input json.RawMessage) (o outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.e.log.ErrorContext(ctx, "step panicked", "run", r.id, "step", step, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v: %w", p, dg.ErrInvalid)
		}
	}()
	v, err := f(ctx, r.id, input)
	if err != nil {
		return outcome{}, err
	}
	if v == nil {
		return outcome{}, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return outcome{}, fmt.Errorf("result: %w: %w", err, dg.ErrInvalid)
	}
	return outcome{Out: b}, nil
}

// work is the workflow: it runs a pipeline and keeps its row in step.
func (e *Engine) work(ctx dbos.Context, c call) (string, error) {
	id, err := ctx.GetWorkflowID()
	if err != nil {
		return "", err
	}
	me := e.activate(id)
	defer e.deactivate(id)
	row, err := e.ledger.BeginRun(context.WithoutCancel(ctx), ledger.Run{ID: id, Pipeline: c.Pipeline, Input: c.Input, StartedAt: e.o.Now()})
	if err != nil {
		return "", err
	}
	if row.Finished() { // the last process died after the row and before the engine's own record
		return row.State, nil
	}
	if row.CancelRequested {
		me.cancel(errCancelled)
	}
	began := time.Now()
	traced, span := e.trace(ctx, id, c)
	defer span.End()
	result, err := e.run(run{e: e, ctx: ctx, me: me, id: id, span: span}, c)
	if ctx.Err() != nil { // shutdown: the run stays running and goes on at the next start
		span.SetString("driftgate.run.state", "interrupted")
		return "", context.Cause(ctx)
	}
	span.Fail(err)
	end := ended(id, result, err)
	end.FinishedAt = e.o.Now()
	if row, err = e.finish(ctx, end); err != nil {
		return "", err
	}
	level := slog.LevelDebug
	if row.State == ledger.RunFailed {
		level = slog.LevelError
	}
	span.SetString("driftgate.run.state", row.State)
	span.SetString("driftgate.run.verdict", row.Verdict)
	e.log.Log(traced, level, "run ended", "run", id, "state", row.State, "took", time.Since(began), "error", row.Error)
	e.o.Finished(row, time.Since(began))
	e.sweepSometimes()
	return row.State, nil
}

// trace begins the trace of a run, linked to what asked for it and to what
// started it. A run that a restart interrupts goes on in a second trace.
func (e *Engine) trace(ctx context.Context, id string, c call) (context.Context, telemetry.Span) {
	var asked struct {
		Trace string `json:"trace"`
	}
	_ = json.Unmarshal(c.Input, &asked) // of an input without one, nothing is lost
	ctx, span := e.o.Tracer.StartLinked(ctx, "run "+c.Pipeline, asked.Trace, c.Trace)
	span.SetString("driftgate.run.id", id)
	return ctx, span
}

func (e *Engine) run(r run, c call) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.log.ErrorContext(r.span.In(r.ctx), "pipeline panicked", "run", r.id, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v: %w", p, dg.ErrInvalid)
		}
	}()
	f := e.funcs[c.Pipeline]
	if f == nil {
		return nil, fmt.Errorf("pipeline %q is not known: %w", c.Pipeline, dg.ErrInvalid)
	}
	return f(r, c.Input)
}

// finish enters the final row. While the ledger refuses it, a full disk for
// one, nothing else can be done, so it tries on until shutdown.
func (e *Engine) finish(ctx context.Context, end ledger.Run) (ledger.Run, error) {
	for pause := e.o.RetryBase; ; pause = min(2*pause, e.o.RetryMax) {
		row, err := e.ledger.FinishRun(context.WithoutCancel(ctx), end)
		if err == nil || pipeline.Permanent(err) {
			return row, err
		}
		e.log.Error("outcome of a run could not be entered, will try again", "run", end.ID, "pause", pause, "error", err)
		select {
		case <-ctx.Done():
			return row, err
		case <-time.After(pause):
		}
	}
}

// ended is the final row of a pipeline that returned result and err.
func ended(id string, result any, err error) ledger.Run {
	end := ledger.Run{ID: id, State: ledger.RunDone}
	if result != nil {
		b, jsonErr := json.Marshal(result)
		if err == nil && jsonErr != nil {
			err = fmt.Errorf("result: %w", jsonErr)
		}
		end.Result = b
	}
	if j, ok := result.(pipeline.Judged); ok && err == nil {
		end.Verdict = j.Judgement().String()
	}
	switch {
	case errors.Is(err, errCancelled):
		end.State, end.Error = ledger.RunCancelled, err.Error()
	case err != nil:
		end.State, end.Error = ledger.RunFailed, err.Error()
	}
	return end
}

// activate returns the run's entry, making it when there is none.
func (e *Engine) activate(id string) *activeRun {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.active[id]; a != nil {
		return a
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	a := &activeRun{cancel: cancel, ctx: ctx, done: make(chan struct{})}
	e.active[id] = a
	return a
}

func (e *Engine) deactivate(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.active[id]; a != nil {
		delete(e.active, id)
		a.cancel(nil)
		close(a.done)
	}
}

// doneOf is closed when the run is worked on no more; nil when it is not.
func (e *Engine) doneOf(id string) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.active[id]; a != nil {
		return a.done
	}
	return nil
}
