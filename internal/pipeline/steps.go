package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
	"driftgate/trainer"
)

// gather waits for enough human labels since the cause began: a challenger that
// learned from a handful of them is not worth a gate's verdict. It looks at
// counts only. A trigger without a known cause does not wait.
func (p *Pipelines) gather(ctx context.Context, runID string, in RetrainInput) (int, error) {
	since, until := in.Trigger.Since, in.Trigger.At.Add(p.o.Gather.Wait)
	if since.IsZero() || p.o.Gather.MinLabels <= 0 {
		return 0, nil
	}
	said := -1
	for {
		n := 0
		for r, err := range p.d.Ledger.Labelled(ctx, dg.Interval{Start: since, End: p.o.Now().UTC()}) {
			if err != nil {
				return 0, err
			}
			if !dg.Held(r.ID(), p.o.Train.Holdout) {
				n++
			}
		}
		if n >= p.o.Gather.MinLabels || !p.o.Now().Before(until) {
			return n, nil
		}
		if n != said {
			said = n
			p.say(ctx, runID, gathering(n, p.o.Gather.MinLabels, until))
		}
		select {
		case <-ctx.Done():
			return n, ctx.Err()
		case <-time.After(p.o.Gate.Poll):
		}
	}
}

// compose chooses what to train on and keeps it as a job in the run's folder.
func (p *Pipelines) compose(ctx context.Context, runID string, in RetrainInput) (composed, error) {
	p.stage(ctx, runID, "compose", "composing the training set")
	if in.Model != "" && in.Model != p.o.Model {
		return composed{}, fmt.Errorf("pipeline: retrain %q: this gateway's model is %q: %w", in.Model, p.o.Model, dg.ErrInvalid)
	}
	champion, artifact, err := p.champion(ctx)
	if err != nil {
		return composed{}, err
	}
	now := p.o.Now().UTC()
	since, o := now, p.o.Train
	if s := in.Trigger.Since; !s.IsZero() && s.Before(now) {
		since = s
		o.ProxyUntil = s // what the champion says since then is what is in doubt
	}
	iv := dg.Interval{Start: since.Add(-p.o.Lookback), End: now}
	records, err := ledger.All(p.d.Ledger.Training(ctx, iv))
	if err != nil {
		return composed{}, err
	}
	m := artifact.Manifest
	examples, account := trainer.ComposeReport(records, m.Classes, p.d.Buckets, o)
	account.Labelling.Interval = &iv
	l := account.Labelling
	job := trainer.Job{RunID: runID, Model: p.o.Model, Dataset: m.Dataset, Examples: examples, Composition: account, Parent: champion.Version,
		Options: o, Buckets: p.d.Buckets, StartedAt: now}
	if err := p.keepJob(runID, job); err != nil {
		return composed{}, err
	}
	p.log.InfoContext(ctx, "training set composed", "run", runID, "parent", champion.Version.Short(), "human", l.Human, "proxy", l.Proxy,
		"held_out", account.Evaluation.Held, "unlabelled", l.Unlabelled, "doubted", l.Doubted, "known_errors", account.Quality.KnownErrors,
		"low_confidence", l.LowConfidence, "unknown_label", l.UnknownLabel, "over_the_cap", account.Active.LeftOut)
	return composed{Parent: champion.Version, Human: l.Human, Proxy: l.Proxy}, nil
}

// TrainOptions are the options of a training on a dataset alone: those that are
// configured, with what it asks for in their place. The error is
// [driftgate.ErrInvalid].
func (p *Pipelines) TrainOptions(asked json.RawMessage) (trainer.Options, error) {
	o := p.o.Train
	o.Start = trainer.Scratch // what is configured is for retraining; asked for, it starts from the champion
	o, err := o.Merge(asked)
	if err != nil {
		return o, fmt.Errorf("pipeline: train: %w", err)
	}
	o.Replay = -1 // the dataset is all there is
	return o, nil
}

// prepare keeps a job on a dataset alone.
func (p *Pipelines) prepare(ctx context.Context, runID string, in TrainInput) (any, error) {
	p.stage(ctx, runID, "compose", "preparing")
	o, err := p.TrainOptions(in.Options)
	if err != nil {
		return nil, err
	}
	job := trainer.Job{RunID: runID, Model: p.o.Model, Dataset: in.Dataset, Options: o, Buckets: p.d.Buckets, StartedAt: p.o.Now().UTC()}
	if o.Start == trainer.Warm || o.Start == trainer.Head {
		champion, _, err := p.champion(ctx)
		if err != nil {
			return nil, err
		}
		job.Parent = champion.Version
	}
	return nil, p.keepJob(runID, job)
}

func (p *Pipelines) keepJob(runID string, job trainer.Job) error {
	dir, err := p.dir(runID)
	if err != nil {
		return err
	}
	job.Dir = dir
	if err := job.Validate(); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil { // what an earlier run of this id left
		return fmt.Errorf("pipeline: run folder: %w", err)
	}
	return writeJob(dir, job)
}

// train trains the run's job, or goes on from its checkpoint, and keeps the
// artifact in the run's folder.
func (p *Pipelines) train(ctx context.Context, runID string, _ any) (trained, error) {
	dir, err := p.dir(runID)
	if err != nil {
		return trained{}, err
	}
	if _, a, ref, ok := readFiles(dir); ok { // finished, and died before that was known
		return trainedOf(ref, a.Manifest), nil
	}
	job, err := readJob(dir)
	if err != nil {
		return trained{}, err
	}
	job.Store = p.d.Store
	if err := p.copyOldStyle(ctx, job.Parent, job.StartedAt); err != nil {
		return trained{}, err
	}
	say, record := p.follow(ctx, runID), p.trainingBegins(ctx, runID, job)
	files, err := p.d.Train(ctx, job, func(t trainer.Progress) { say(t); record(t) })
	p.metrics.samples.Set(0)
	if err != nil {
		return trained{}, err
	}
	a, ref, err := network.ReadArtifact(files)
	if err != nil {
		return trained{}, err
	}
	if err := writeFiles(dir, files); err != nil {
		return trained{}, err
	}
	if t, ok := a.Manifest.Metrics["test_accuracy"]; ok {
		p.metrics.evaluated("test", map[dg.ModelRef]float64{ref: t})
	}
	return trainedOf(ref, a.Manifest), nil
}

// trainedOf is what a training hands on of its artifact.
func trainedOf(ref dg.ModelRef, m network.Manifest) trained {
	t := trained{Model: ref, Metrics: m.Metrics}
	if s := m.Search; s != nil && s.Best > 0 && s.Best <= len(s.Trials) {
		t.Search = &Searched{Method: s.Method, Trials: len(s.Trials), Epochs: s.Epochs, Best: s.Best, Settings: s.Trials[s.Best-1].Settings}
		for _, trial := range s.Trials {
			if trial.State == network.TrialFailed {
				t.Search.Failed++
			}
		}
	}
	return t
}

// save puts the artifact into the registry.
func (p *Pipelines) save(ctx context.Context, runID string, _ any) (saved, error) {
	p.stage(ctx, runID, "save", "saving the challenger")
	dir, err := p.dir(runID)
	if err != nil {
		return saved{}, err
	}
	files, a, _, ok := readFiles(dir)
	if !ok {
		return saved{}, fmt.Errorf("pipeline: run %s: its trained artifact is gone from %s; start the run again: %w", runID, dir, dg.ErrNotFound)
	}
	ref, err := p.d.Registry.Save(ctx, files)
	if err == nil {
		p.trainingDone(ctx, runID, ref, a.Manifest)
		err = p.copyOldStyle(ctx, ref, a.Manifest.FinishedAt)
	}
	return saved{ref, p.o.Now().UTC()}, err
}

// copyOldStyle keeps a model where the MobileNet lab kept them, if that is
// wanted; a training without a parent has none to keep before it.
func (p *Pipelines) copyOldStyle(ctx context.Context, ref dg.ModelRef, at time.Time) error {
	if !p.o.OldUploads || ref == "" {
		return nil
	}
	_, err := p.d.Registry.UploadOldStyle(ctx, ref, at)
	return err
}

// interval is what a challenger is judged on: from the cause's start, when that
// is known, to now.
func (p *Pipelines) interval(since time.Time) dg.Interval {
	now := p.o.Now().UTC()
	if since.IsZero() || !since.Before(now) {
		since = now.Add(-p.o.Gate.Window)
	}
	return dg.Interval{Start: since, End: now}
}

// await waits for enough held-out labels. It looks at counts only, never at who
// was right, so that when it stops says nothing about the outcome.
func (p *Pipelines) await(ctx context.Context, runID string, in awaitInput) (int, error) {
	until := in.From.Add(p.o.Gate.Wait)
	said := -1
	for {
		c, err := p.d.Registry.Champion(ctx)
		if err != nil {
			return 0, err
		}
		n, err := p.d.Evaluator.Pairs(ctx, c.Version, in.Challenger, p.interval(in.Since))
		if errors.Is(err, dg.ErrInvalid) {
			return 0, nil // no wait mends it; the judgement says what it is
		}
		if err != nil && !errors.Is(err, dg.ErrTooFewSamples) {
			return n, err
		}
		if n >= p.o.Gate.MinPairs || !p.o.Now().Before(until) {
			return n, nil
		}
		if n != said {
			said = n
			p.say(ctx, runID, awaiting(n, p.o.Gate.MinPairs, until))
		}
		select {
		case <-ctx.Done():
			return n, ctx.Err()
		case <-time.After(p.o.Gate.Poll):
		}
	}
}

// evaluate judges the challenger against the champion of the moment.
func (p *Pipelines) evaluate(ctx context.Context, runID string, in awaitInput) (judged, error) {
	p.stage(ctx, runID, "evaluate", "judging the challenger on held-out labels")
	champion, _, err := p.champion(ctx)
	if err != nil {
		return judged{}, err
	}
	iv, began := p.interval(in.Since), p.o.Now().UTC()
	c, err := p.d.Evaluator.Judge(ctx, champion.Version, in.Challenger, iv)
	if errors.Is(err, dg.ErrTooFewSamples) {
		c = dg.Comparison{Champion: champion.Version, Challenger: in.Challenger, Reasons: []string{err.Error()}}
	} else if err != nil {
		return judged{}, err
	}
	p.judgementMade(ctx, runID, iv, began, c)
	if c.Pairs > 0 {
		p.metrics.evaluated("heldout", map[dg.ModelRef]float64{champion.Version: c.ChampionAccuracy, in.Challenger: c.ChallengerAccuracy})
	}
	p.log.InfoContext(ctx, "challenger judged", "run", runID, "champion", champion.Version.Short(), "challenger", in.Challenger.Short(),
		"verdict", c.Verdict, "pairs", c.Pairs, "difference", c.Difference, "lower", c.Lower, "upper", c.Upper, "interval", iv, "reasons", c.Reasons)
	return judged{champion, champion.ETag, c}, nil
}

// promote makes the challenger the champion, unless the champion that it was
// judged against is no longer the one. It heeds no cancellation: the gate has
// spoken.
func (p *Pipelines) promote(ctx context.Context, runID string, in promoteInput) (promoted, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	p.stage(ctx, runID, "promote", "promoting the challenger")
	if len(p.o.Rollout.Stages) > 0 {
		return p.begin(ctx, runID, in)
	}
	seen := in.Champion
	seen.ETag = in.ETag
	next, err := p.d.Registry.Promote(ctx, in.Challenger, seen, in.Reason, runID)
	if errors.Is(err, dg.ErrConflict) {
		p.log.WarnContext(ctx, "challenger not promoted: the champion changed meanwhile", "run", runID, "error", err)
		return promoted{Note: "not promoted: the champion changed while the challenger was judged; compare again"}, nil
	}
	if err != nil {
		return promoted{}, err
	}
	return p.crowned(ctx, runID, next, in.Comparison)
}

// enthrone makes the first champion. Where there is one already, it stays.
func (p *Pipelines) enthrone(ctx context.Context, runID string, in saved) (promoted, error) {
	now, err := p.d.Registry.Champion(ctx)
	switch {
	case err == nil && now.RunID != runID:
		return promoted{Note: fmt.Sprintf("saved as a candidate: %s is champion; compare, then promote", now.Version.Short())}, nil
	case err != nil && !errors.Is(err, dg.ErrNotFound):
		return promoted{}, err
	case err == nil:
		return p.crowned(ctx, runID, now, nil)
	}
	next, err := p.d.Registry.Promote(ctx, in.Model, dg.Champion{}, "first", runID)
	if errors.Is(err, dg.ErrConflict) {
		return promoted{Note: "saved as a candidate: another model became champion meanwhile"}, nil
	}
	if err != nil {
		return promoted{}, err
	}
	return p.crowned(ctx, runID, next, nil)
}

func (p *Pipelines) crowned(ctx context.Context, runID string, c dg.Champion, evidence any) (promoted, error) {
	p.log.InfoContext(ctx, "champion promoted", "run", runID, "version", c.Version.Short(), "generation", c.Generation, "reason", c.Reason)
	err := p.audit(ctx, ledger.EventPromotion, c.PromotedAt, c.Version, ledger.ByGate, c.Reason, evidence)
	return promoted{Promoted: true, Note: fmt.Sprintf("champion since %s, generation %d", c.PromotedAt.UTC().Format(dg.TimeFormat), c.Generation)}, err
}

// report ends a run: what it kept on disk is in the registry by now, and a
// challenger that the gate did not pass is on record.
func (p *Pipelines) report(ctx context.Context, runID string, in RetrainResult) (any, error) {
	p.removeDir(runID)
	if in.Champion == "" || in.Verdict == dg.Promote {
		return nil, nil
	}
	return nil, p.audit(ctx, ledger.EventRejection, p.o.Now().UTC(), in.Challenger, ledger.ByGate, in.Verdict.String()+": "+strings.Join(append([]string{in.Note}, in.Comparison.Reasons...), "; "), in.Comparison)
}

// champion returns the champion of the moment with its artifact.
func (p *Pipelines) champion(ctx context.Context) (dg.Champion, *network.Artifact, error) {
	c, err := p.d.Registry.Champion(ctx)
	if errors.Is(err, dg.ErrNotFound) {
		return c, nil, fmt.Errorf("pipeline: there is no champion yet: train and promote a first model: %w", err)
	}
	if err != nil {
		return c, nil, err
	}
	a, err := p.d.Registry.Load(ctx, c.Version)
	return c, a, err
}
