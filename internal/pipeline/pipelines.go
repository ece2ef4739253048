package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"

	dg "driftgate"
)

// Pipelines are the pipelines and their steps over given services.
type Pipelines struct {
	d       Deps
	o       Options
	log     *slog.Logger
	metrics *metrics
	rolling sync.Mutex // held by a rollout step
}

// New returns the pipelines. Options that do not [Options.Validate] make every
// run that needs them fail.
func New(d Deps, o Options) *Pipelines {
	o = o.withDefaults()
	return &Pipelines{d: d, o: o, log: o.Logger.With("component", "pipeline"), metrics: newMetrics(o.Registerer)}
}

// Funcs returns the pipelines by name.
func (p *Pipelines) Funcs() map[string]Func {
	return map[string]Func{
		"curate":    passThrough("curate"),
		"collect":   passThrough("collect"),
		"reconcile": passThrough("reconcile"),
		"rollout":   passThrough("rollout"),
		"prune":     passThrough("prune"),
		"retrain":   retrain,
		"train":     train,
	}
}

// Steps returns every step by name.
func (p *Pipelines) Steps() map[string]Step {
	return map[string]Step{
		"curate":    step(p.curate),
		"collect":   step(p.collect),
		"reconcile": step(p.reconcile),
		"rollout":   step(p.rollout),
		"prune":     step(p.prune),

		"gather":   step(p.gather),
		"compose":  step(p.compose),
		"prepare":  step(p.prepare),
		"train":    step(p.train),
		"save":     step(p.save),
		"await":    step(p.await),
		"evaluate": step(p.evaluate),
		"promote":  final(p.promote),
		"enthrone": final(p.enthrone),
		"report":   final(p.report),
	}
}

// CurateInput is the input of a curate run.
type CurateInput struct {
	Interval dg.Interval `json:"interval"`
	Late     bool        `json:"late"` // also take up what came in after its interval's run
}

// passThrough is the pipeline of one step.
func passThrough(name string) Func {
	return func(r Run, in json.RawMessage) (any, error) {
		var out json.RawMessage
		err := r.Do(name, in, &out)
		return out, err
	}
}

// step gives a typed step its JSON input; a cancelled run does not begin it.
func step[In, Out any](f func(ctx context.Context, runID string, in In) (Out, error)) Step {
	return func(ctx context.Context, runID string, raw json.RawMessage) (any, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return final(f)(ctx, runID, raw)
	}
}

// final is step for what comes after the point of no return: it begins even in
// a cancelled run, or that would depend on the moment of a crash.
func final[In, Out any](f func(ctx context.Context, runID string, in In) (Out, error)) Step {
	return func(ctx context.Context, runID string, raw json.RawMessage) (any, error) {
		var in In
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &in); err != nil {
				return nil, fmt.Errorf("pipeline: input of run %s: %w: %w", runID, err, dg.ErrInvalid)
			}
		}
		return f(ctx, runID, in)
	}
}

func (p *Pipelines) curate(ctx context.Context, _ string, in CurateInput) (any, error) {
	return p.d.Labelling.Curate(ctx, in.Interval, in.Late)
}

func (p *Pipelines) collect(ctx context.Context, _ string, _ any) (any, error) {
	return p.d.Labelling.Collect(ctx)
}

// Pruned is what a prune run deleted.
type Pruned struct {
	Deleted []dg.ModelRef `json:"deleted"`
}

func (p *Pipelines) prune(ctx context.Context, _ string, _ any) (Pruned, error) {
	gone, err := p.d.Prune(ctx)
	return Pruned{append([]dg.ModelRef{}, gone...)}, err
}

func (p *Pipelines) reconcile(ctx context.Context, _ string, _ any) (any, error) {
	return p.d.Catalog.Reconcile(ctx)
}
