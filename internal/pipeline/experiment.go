package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/internal/experiment"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
	"driftgate/trainer"
)

// Experiments is where training runs and evaluations are recorded; see
// experiment.Store. A record that cannot be written is no reason to fail.
type Experiments interface {
	Put(ctx context.Context, r experiment.Record) error
	Get(ctx context.Context, id string) (experiment.Record, error)
	Made(ctx context.Context, version dg.ModelRef) (experiment.Record, error)
	Unfinished(ctx context.Context) ([]experiment.Record, error)
}

// evaluationOf is the id of the record of a run's evaluation.
func evaluationOf(runID string) string { return runID + ".evaluation" }

// keep writes a record.
func (p *Pipelines) keep(ctx context.Context, r experiment.Record) {
	if p.d.Experiments == nil {
		return
	}
	r.Error = experiment.Clip(r.Error, experiment.MaxError)
	if !r.FinishedAt.IsZero() && r.FinishedAt.Before(r.StartedAt) {
		r.FinishedAt = r.StartedAt // the loop's clock was set back
	}
	if err := p.d.Experiments.Put(context.WithoutCancel(ctx), r); err != nil {
		p.log.WarnContext(ctx, "experiment was not recorded", "id", r.ID, "error", err)
	}
}

// maker is the record of the training that made a version; "" when none is
// known.
func (p *Pipelines) maker(ctx context.Context, version dg.ModelRef) string {
	if p.d.Experiments == nil || version == "" {
		return ""
	}
	r, err := p.d.Experiments.Made(ctx, version)
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		p.log.WarnContext(ctx, "parent experiment was not found", "version", version.Short(), "error", err)
	}
	return r.ID
}

// jobRecord is what is known of a training before it begins.
func (p *Pipelines) jobRecord(ctx context.Context, runID string, job trainer.Job) experiment.Record {
	r := experiment.Record{ID: runID, RunID: runID, Kind: experiment.Train, State: experiment.Running, StartedAt: job.StartedAt.UTC(),
		Parent: p.maker(ctx, job.Parent), Parameters: map[string]string{}, Curves: map[string][]experiment.Point{}}
	if job.Composition.Labelling.Interval != nil {
		r.Kind = experiment.Retrain
	}
	r.Environment = map[string]string{"os": runtime.GOOS, "arch": runtime.GOARCH, "cpus": strconv.Itoa(runtime.NumCPU()), "go_version": runtime.Version()} // the child's is the same
	describe(&r, job.Model, job.Dataset, job.Parent, job.Options)
	account(&r, &job.Composition)
	return r
}

// describe sets the parameters: what was asked for.
func describe(r *experiment.Record, model, dataset string, parent dg.ModelRef, options any) {
	experiment.Flatten(r.Parameters, "", options)
	if family := r.Parameters["model"]; family != "" { // as the manifest has it: "model" is the name
		r.Parameters["architecture"] = family
	}
	experiment.Flatten(r.Parameters, "", map[string]string{"model": model, "dataset": dataset, "parent_version": parent.Short()})
}

// account adds what a training set was made from, as "set.…": figures where they
// are numbers, else parameters.
func account(r *experiment.Record, c *network.Composition) {
	if c == nil {
		return
	}
	brief := *c
	brief.Quality.List = nil // the suspects one by one stay in the manifest
	flat := map[string]string{}
	experiment.Flatten(flat, "set", brief)
	if r.Metrics == nil {
		r.Metrics = map[string]float64{}
	}
	for name, text := range flat {
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			r.Metrics[name] = n
		} else {
			r.Parameters[name] = text
		}
	}
	r.Metrics = experiment.Finite(r.Metrics)
}

// trainingBegins enters a training, or takes one up that a crash interrupted:
// the epochs before it are kept. It returns what is to hear of the progress.
func (p *Pipelines) trainingBegins(ctx context.Context, runID string, job trainer.Job) func(trainer.Progress) {
	if p.d.Experiments == nil {
		return func(trainer.Progress) {}
	}
	r := p.jobRecord(ctx, runID, job)
	if before, err := p.d.Experiments.Get(ctx, runID); err == nil && before.State == experiment.Running && before.Curves != nil {
		r.Curves = before.Curves
	}
	p.keep(ctx, r)
	var last trainer.Progress
	return func(t trainer.Progress) {
		if t.Trial > 0 {
			p.trialRests(ctx, r, t)
			return
		}
		if last.Phase == trainer.Training && (t.Phase != trainer.Training || t.Epoch != last.Epoch) {
			at := p.o.Now().UTC()
			addPoint(r.Curves, "train_loss", last.Epoch, last.Loss, at)
			addPoint(r.Curves, "train_accuracy", last.Epoch, last.Accuracy, at)
			if v := t.ValidationAccuracy; v > 0 {
				addPoint(r.Curves, "validation_accuracy", last.Epoch, v, at)
				addPoint(r.Curves, "validation_loss", last.Epoch, t.ValidationLoss, at)
			}
			p.keep(ctx, r)
		}
		last = t
	}
}

// addPoint adds a point after which no later ones stand: an epoch that is run
// again takes its place.
func addPoint(curves map[string][]experiment.Point, name string, epoch int, v float64, at time.Time) {
	curve := curves[name]
	for len(curve) > 0 && curve[len(curve)-1].Step >= epoch {
		curve = curve[:len(curve)-1]
	}
	if v == v && v-v == 0 { // neither NaN nor infinite
		curve = append(curve, experiment.Point{Step: epoch, Value: v, At: at})
	}
	curves[name] = curve
}

// trainingDone enters the finished training, all of it from its manifest.
func (p *Pipelines) trainingDone(ctx context.Context, runID string, ref dg.ModelRef, m network.Manifest) {
	if p.d.Experiments == nil {
		return
	}
	r := ManifestRecord(runID, ref, m)
	r.RunID, r.Parent = runID, p.maker(ctx, m.Parent)
	if before, err := p.d.Experiments.Get(ctx, runID); err == nil {
		r.Kind, r.Parent, r.Verdict = before.Kind, cmp.Or(r.Parent, before.Parent), before.Verdict
		keepTimes(r.Curves, before.Curves)
	}
	if r.StartedAt.IsZero() { // a manifest of another's making
		r.StartedAt = p.o.Now().UTC()
	}
	if r.FinishedAt.IsZero() {
		r.FinishedAt = p.o.Now().UTC()
	}
	p.keep(ctx, r)
	p.keepTrials(ctx, r, m.Search)
}

// keepTimes copies when the points were seen, which the manifest does not say.
func keepTimes(curves, seen map[string][]experiment.Point) {
	for name, curve := range curves {
		at := map[int]time.Time{}
		for _, point := range seen[name] {
			at[point.Step] = point.At
		}
		for i := range curve {
			curve[i].At = at[curve[i].Step]
		}
	}
}

// ManifestRecord is the record of the training that made an artifact, without
// its parent.
func ManifestRecord(id string, ref dg.ModelRef, m network.Manifest) experiment.Record {
	r := experiment.Record{ID: id, RunID: m.RunID, Kind: experiment.Train, State: experiment.Done, Version: ref,
		StartedAt: m.StartedAt.UTC(), FinishedAt: m.FinishedAt.UTC(), Parameters: map[string]string{}, Metrics: experiment.Finite(m.Metrics),
		Environment: map[string]string{}, Curves: map[string][]experiment.Point{}}
	describe(&r, m.Model, m.Dataset, m.Parent, m.Options)
	experiment.Flatten(r.Parameters, "", map[string]any{"architecture": m.Spec.Architecture, "classes": len(m.Classes)})
	for name, n := range m.Counts {
		r.Metrics[experiment.Name("samples."+name)] = float64(n)
	}
	r.Metrics["epochs_run"] = float64(m.Epochs)
	r.Metrics["calibration_error"], r.Metrics["temperature"] = m.Calibration.ECEAfter, m.Calibration.Temperature
	r.Metrics = experiment.Finite(r.Metrics)
	if c := m.Composition; c != nil {
		if account(&r, c); c.Labelling.Interval != nil {
			r.Kind = experiment.Retrain
		}
	}
	if s := m.Search; s != nil {
		experiment.Flatten(r.Parameters, "search", map[string]any{"method": s.Method, "trials": len(s.Trials), "best": s.Best})
		r.Metrics["search.epochs"] = float64(s.Epochs)
	}
	for _, e := range m.Curves {
		for name, v := range map[string]float64{"train_loss": e.TrainLoss, "train_accuracy": e.TrainAccuracy, "validation_loss": e.ValidationLoss,
			"validation_accuracy": e.ValidationAccuracy, "learning_rate": e.LearningRate, "epoch_seconds": e.Seconds} {
			addPoint(r.Curves, name, e.Epoch, v, time.Time{})
		}
	}
	if m.Environment != nil {
		experiment.Flatten(r.Environment, "", m.Environment)
	}
	experiment.Flatten(r.Environment, "", map[string]any{"go_version": m.GoVersion})
	for module, version := range m.Modules {
		r.Environment[experiment.Name("module."+module)] = version
	}
	return r
}

// judgementMade enters a judgement.
func (p *Pipelines) judgementMade(ctx context.Context, runID string, iv dg.Interval, started time.Time, c dg.Comparison) {
	if p.d.Experiments == nil {
		return
	}
	r := ComparisonRecord(evaluationOf(runID), iv, c)
	r.RunID, r.Parent, r.StartedAt, r.FinishedAt = runID, runID, started, p.o.Now().UTC()
	p.keep(ctx, r)
}

// ComparisonRecord is the record of a judgement: the figures of the held-out
// suite, and those of the others as "suites.NAME.…". Its times are the caller's
// to set.
func ComparisonRecord(id string, iv dg.Interval, c dg.Comparison) experiment.Record {
	r := experiment.Record{ID: id, Kind: experiment.Evaluation, State: experiment.Done, Version: c.Challenger, Verdict: c.Verdict.String(),
		Parameters: map[string]string{}}
	experiment.Flatten(r.Parameters, "", map[string]string{"champion": c.Champion.Short(), "challenger": c.Challenger.Short(),
		"from": iv.Start.UTC().Format(dg.TimeFormat), "until": iv.End.UTC().Format(dg.TimeFormat), "reasons": strings.Join(c.Reasons, "; ")})
	m := map[string]float64{"pairs": float64(c.Pairs)}
	if c.Pairs > 0 {
		for name, v := range map[string]float64{"difference": c.Difference, "difference_lower": c.Lower, "difference_upper": c.Upper, "p_value": c.PValue,
			"champion_accuracy": c.ChampionAccuracy, "challenger_accuracy": c.ChallengerAccuracy, "both_right": float64(c.BothRight),
			"only_champion": float64(c.OnlyChampion), "only_challenger": float64(c.OnlyChallenger), "both_wrong": float64(c.BothWrong)} {
			m[name] = v
		}
	}
	if c.LabelsToDecide > 0 {
		m["labels_to_decide"] = float64(c.LabelsToDecide)
	}
	for _, s := range c.Suites {
		name := "suites." + experiment.Name(s.Suite)
		for part, v := range map[string]float64{"pairs": float64(s.Pairs), "champion_accuracy": s.Champion, "challenger_accuracy": s.Challenger,
			"difference": s.Difference, "difference_lower": s.Lower, "difference_upper": s.Upper} {
			m[name+"."+part] = v
		}
		r.Parameters[name+".verdict"] = s.Verdict.String()
	}
	r.Metrics = experiment.Finite(m)
	return r
}

// recordEnd enters how a run ended: a training that came to nothing, with what is
// known of it, and the verdict on one that did.
func (p *Pipelines) recordEnd(ctx context.Context, row ledger.Run) {
	if p.d.Experiments == nil || (row.Pipeline != "train" && row.Pipeline != "retrain") || !row.Finished() {
		return
	}
	r, err := p.d.Experiments.Get(ctx, row.ID)
	switch {
	case errors.Is(err, dg.ErrNotFound):
		if row.State == ledger.RunDone {
			return // it began before there were records; its artifact tells of it
		}
		r = p.runRecord(ctx, row)
	case err != nil:
		p.log.WarnContext(ctx, "end of a run was not recorded", "run", row.ID, "error", err)
		return
	}
	if r.State == experiment.Running {
		r.State, r.Error, r.FinishedAt = row.State, row.Error, row.FinishedAt.UTC()
	} else if row.State != ledger.RunDone {
		p.recordFault(ctx, row, r)
		return
	}
	r.Verdict = row.Verdict
	p.keep(ctx, r)
	p.endTrials(ctx, row)
}

// recordFault enters the evaluation that a run ended in, once its training was
// done.
func (p *Pipelines) recordFault(ctx context.Context, row ledger.Run, made experiment.Record) {
	var at Progress
	if json.Unmarshal(row.Progress, &at) != nil || (at.Stage != "evaluate" && at.Stage != "await") {
		return
	}
	if _, err := p.d.Experiments.Get(ctx, evaluationOf(row.ID)); !errors.Is(err, dg.ErrNotFound) {
		return
	}
	p.keep(ctx, experiment.Record{ID: evaluationOf(row.ID), RunID: row.ID, Parent: row.ID, Kind: experiment.Evaluation, Version: made.Version,
		State: row.State, Error: row.Error, StartedAt: made.FinishedAt, FinishedAt: row.FinishedAt.UTC(),
		Parameters: map[string]string{"challenger": made.Version.Short()}})
}

// runRecord is the record of a run that ended before its training began.
func (p *Pipelines) runRecord(ctx context.Context, row ledger.Run) experiment.Record {
	if dir, err := p.dir(row.ID); err == nil {
		if job, err := readJob(dir); err == nil {
			return p.jobRecord(ctx, row.ID, job)
		}
	}
	started := row.StartedAt
	if started.IsZero() {
		started = row.RequestedAt
	}
	r := experiment.Record{ID: row.ID, RunID: row.ID, Kind: row.Pipeline, State: experiment.Running, StartedAt: started.UTC(), Parameters: map[string]string{}}
	experiment.Flatten(r.Parameters, "input", row.Input)
	return r
}

// EndExperiments enters the ends that a process which died could not: of every
// record that is running, and whose run is over or gone. The engine must have
// its runs already.
func (p *Pipelines) EndExperiments(ctx context.Context, run func(ctx context.Context, id string) (ledger.Run, error)) error {
	if p.d.Experiments == nil {
		return nil
	}
	open, err := p.d.Experiments.Unfinished(ctx)
	if err != nil {
		return fmt.Errorf("pipeline: end experiments: %w", err)
	}
	for _, r := range open {
		row, err := run(ctx, r.RunID)
		switch {
		case errors.Is(err, dg.ErrNotFound):
			row = ledger.Run{ID: r.RunID, Pipeline: pipelineOf(r), State: ledger.RunFailed, Error: "its run is no longer known", FinishedAt: p.o.Now()}
		case err != nil:
			return fmt.Errorf("pipeline: end experiments: %w", err)
		}
		p.recordEnd(ctx, row)
	}
	return nil
}
