package evaluator

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
)

// Images is what the evaluator asks of the object store.
type Images interface {
	// Get returns a whole object; [dg.ErrNotFound] when there is none.
	Get(ctx context.Context, bucket, key string) ([]byte, objstore.Object, error)
	// List streams the objects under a prefix, in key order.
	List(ctx context.Context, bucket, prefix string, withTags bool) iter.Seq2[objstore.Object, error]
}

// Labels is what the evaluator asks of the ledger.
type Labels interface {
	// Labelled streams the samples of iv that people have labelled.
	Labelled(ctx context.Context, iv dg.Interval) iter.Seq2[ledger.Record, error]
	// Picks tells the stratum and curate interval of each labelled sample.
	Picks(ctx context.Context, version string, iv dg.Interval) ([]ledger.Pick, error)
	// Counts tallies the predictions behind them; version "" is every one.
	Counts(ctx context.Context, version string, iv dg.Interval) ([]dg.StratumCount, error)
	// Records returns what is known of these samples; unknown ids are left out.
	Records(ctx context.Context, ids ...string) (map[string]ledger.Record, error)
}

// Models is what the evaluator asks of the registry.
type Models interface {
	// Load returns an artifact; [dg.ErrNotFound] when there is none.
	Load(ctx context.Context, ref dg.ModelRef) (*network.Artifact, error)
	// History returns every generation of the champion record, oldest first.
	History(ctx context.Context) ([]dg.Champion, error)
}

// Sources are what the evaluator reads, and the store of its predictions.
type Sources struct {
	Images      Images
	Labels      Labels
	Models      Models
	Predictions Predictions   // nil: every answer is computed anew
	Datasets    dataset.Store // the bucket of ingested datasets; nil: there is no test suite
	Buckets     objstore.Buckets
}

// Evaluator judges and describes versions on labels that they have not seen.
// It is safe for concurrent use.
type Evaluator struct {
	Sources
	o      Options
	loaded loaded
	speeds speeds
	pixels pixels
}

// New makes an evaluator. Zero options mean defaults; faulty ones are the error
// of every judgement.
func New(s Sources, o Options) *Evaluator { return &Evaluator{Sources: s, o: o} }

// Pairs counts the held-out pairs that Judge would judge now, without looking
// at an image. Errors are those of Judge.
func (e *Evaluator) Pairs(ctx context.Context, champion, challenger dg.ModelRef, iv dg.Interval) (int, error) {
	vs, err := e.load(ctx, champion, challenger)
	if err != nil {
		return 0, err
	}
	s, err := e.heldout(ctx, vs, iv)
	if err != nil {
		return 0, fmt.Errorf("evaluator: count pairs: %w", err)
	}
	return len(s.samples), nil
}

// Judge puts both models to every suite of the gate and lets the gate decide.
// The held-out suite is the clean samples of iv (by the time of the prediction)
// that stand in neither manifest. A broken or missing image is left out and
// reported.
//
// What can never be judged as it stands (a suite that is not there, a damaged
// dataset, an artifact that fails its self-test, models of other class lists) is
// the verdict [dg.Errored] with its reason. A store that does not answer is an
// error, to be tried again; so is [dg.ErrRefused], for a model compared with
// itself, [dg.ErrNotFound] for a model that is not there, and [dg.ErrInvalid]
// for faulty options.
func (e *Evaluator) Judge(ctx context.Context, champion, challenger dg.ModelRef, iv dg.Interval) (dg.Comparison, error) {
	if err := e.o.Validate(); err != nil {
		return dg.Comparison{}, err
	}
	c, err := e.judge(ctx, champion, challenger, iv)
	if err != nil {
		return dg.Comparison{}, fmt.Errorf("evaluator: judge %s against %s: %w", challenger.Short(), champion.Short(), err)
	}
	c.Champion, c.Challenger = champion, challenger
	return c, nil
}

func (e *Evaluator) judge(ctx context.Context, champion, challenger dg.ModelRef, iv dg.Interval) (dg.Comparison, error) {
	vs, err := e.load(ctx, champion, challenger)
	if errors.Is(err, dg.ErrInvalid) {
		return errored(err), nil
	} else if err != nil {
		return dg.Comparison{}, err
	}
	var trials []Trial
	var remarks []string
	for _, rule := range e.o.Gate.Rules() {
		t, said, err := e.try(ctx, vs, rule, iv)
		if err != nil {
			return dg.Comparison{}, fmt.Errorf("suite %s: %w", rule.Name, err)
		}
		trials, remarks = append(trials, t), append(remarks, said...)
	}
	c := e.o.Gate.Judge(trials)
	c.Reasons = append(c.Reasons, remarks...)
	return c, nil
}

// errored is a judgement that could not be carried out and never can be.
func errored(err error) dg.Comparison {
	return dg.Comparison{Verdict: dg.Errored, PValue: 1, Lower: -1, Upper: 1, Reasons: []string{err.Error()}}
}

// permanent tells what fails again in the same way.
func permanent(err error) bool {
	return errors.Is(err, dg.ErrInvalid) || errors.Is(err, dg.ErrNotFound)
}

// try puts both models to one suite. A permanent fault is the trial's, any
// other an error.
func (e *Evaluator) try(ctx context.Context, vs []*version, rule SuiteRule, iv dg.Interval) (t Trial, remarks []string, err error) {
	t = Trial{Suite: rule.Name}
	s, err := e.open(ctx, vs, rule, iv)
	if err == nil {
		var sh *sheet
		if sh, err = e.fill(ctx, s, vs); err == nil {
			t.Pairs, t.Population = sh.pairs(0, 1), s.population
			return t, sh.remarks(), nil
		}
	}
	if permanent(err) {
		t.Fault = err.Error()
		return t, nil, nil
	}
	return t, nil, err
}

// remarks are what a reader of a comparison should know of what was left out.
func (sh *sheet) remarks() (out []string) {
	where := ""
	if sh.Kind != KindHeldout {
		where = sh.Name + ": "
	}
	if len(sh.faults) > 0 {
		out = append(out, where+"the first that could not be read: "+sh.faults[0].Error())
	}
	if sh.foreign > 0 {
		out = append(out, fmt.Sprintf("%s%d labelled samples were left out: their label is in neither model's class list", where, sh.foreign))
	}
	return append(out, sh.notes...)
}

// Differences closes one slot of event time for who watches subject beside
// against on production: every labelled sample of the slot that neither was
// trained on is answered by both, whichever served it. d has one number a block,
// above 0 where subject is worse, as [BlockDifferences] makes them: none when too
// many of the slot's predictions have no label yet. pairs is the number of
// samples that both answered. Errors are those of Judge; what Judge calls
// Errored is [dg.ErrInvalid] or [dg.ErrNotFound] here.
func (e *Evaluator) Differences(ctx context.Context, against, subject dg.ModelRef, slot dg.Interval) (d []float64, pairs int, err error) {
	fail := func(err error) ([]float64, int, error) {
		return nil, 0, fmt.Errorf("evaluator: differences of %s and %s in %s: %w", subject.Short(), against.Short(), slot, err)
	}
	vs, err := e.load(ctx, against, subject)
	if err != nil {
		return fail(err)
	}
	s, err := e.heldout(ctx, vs, slot)
	if err != nil {
		return fail(err)
	}
	sh, err := e.fill(ctx, s, vs)
	if err != nil {
		return fail(err)
	}
	both := slices.DeleteFunc(sh.pairs(0, 1), func(p Pair) bool { return !p.complete() })
	if len(both) == 0 {
		return nil, 0, nil
	}
	d, _ = BlockDifferences(both, s.population)
	return d, len(both), nil
}
