package evaluator

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
)

// Images is what the evaluator asks of the object store.
type Images interface {
	// Get returns a whole object; [dg.ErrNotFound] when there is none.
	Get(ctx context.Context, bucket, key string) ([]byte, objstore.Object, error)
}

// Labels is what the evaluator asks of the ledger.
type Labels interface {
	// Labelled streams the samples of iv that people have labelled.
	Labelled(ctx context.Context, iv dg.Interval) iter.Seq2[ledger.Record, error]
	// Picks tells the stratum and curate interval of each labelled sample.
	Picks(ctx context.Context, version string, iv dg.Interval) ([]ledger.Pick, error)
	// Counts tallies the predictions behind them; version "" is every one.
	Counts(ctx context.Context, version string, iv dg.Interval) ([]dg.StratumCount, error)
}

// Evaluator compares artifacts on held-out clean samples. It is safe for
// concurrent use.
type Evaluator struct {
	images Images
	labels Labels
	clean  string
	o      Options
}

// New makes an evaluator over the clean bucket. Zero options mean defaults;
// faulty ones are the error of every Compare.
func New(store Images, labels Labels, buckets objstore.Buckets, o Options) *Evaluator {
	return &Evaluator{images: store, labels: labels, clean: buckets.Clean, o: o}
}

// Pairs counts the held-out pairs that Compare would judge now, without
// looking at an image.
func (e *Evaluator) Pairs(ctx context.Context, champion, challenger *network.Artifact, iv dg.Interval) (int, error) {
	if err := sameClasses(champion, challenger); err != nil {
		return 0, err
	}
	cs, _, err := e.candidates(ctx, champion, challenger, iv)
	if err != nil {
		return 0, fmt.Errorf("evaluator: count pairs: %w", err)
	}
	return len(cs), nil
}

// Compare runs both models over the clean samples of iv (by the time of the
// prediction) that stand in neither manifest, and decides. A broken or missing
// image is left out and reported; a store that does not answer is an error.
//
// The error is [dg.ErrRefused] for a model compared with itself, and
// [dg.ErrInvalid] for faulty options or models of different class lists.
func (e *Evaluator) Compare(ctx context.Context, championRef, challengerRef dg.ModelRef, champion, challenger *network.Artifact, iv dg.Interval) (dg.Comparison, error) {
	if err := e.o.Validate(); err != nil {
		return dg.Comparison{}, err
	}
	if championRef == challengerRef {
		return dg.Comparison{}, fmt.Errorf("evaluator: compare %s with itself: %w", championRef.Short(), dg.ErrRefused)
	}
	if err := sameClasses(champion, challenger); err != nil {
		return dg.Comparison{}, err
	}
	c, err := e.compare(ctx, champion, challenger, iv)
	if err != nil {
		return dg.Comparison{}, fmt.Errorf("evaluator: compare %s with %s: %w", challengerRef.Short(), championRef.Short(), err)
	}
	c.Champion, c.Challenger = championRef, challengerRef
	return c, nil
}

func (e *Evaluator) compare(ctx context.Context, champion, challenger *network.Artifact, iv dg.Interval) (dg.Comparison, error) {
	candidates, foreign, err := e.candidates(ctx, champion, challenger, iv)
	if err != nil {
		return dg.Comparison{}, err
	}
	population, err := e.labels.Counts(ctx, "", iv)
	if err != nil {
		return dg.Comparison{}, err
	}
	old, err := network.NewClassifier(champion)
	if err != nil {
		return dg.Comparison{}, fmt.Errorf("champion: %w", err)
	}
	next, err := network.NewClassifier(challenger)
	if err != nil {
		return dg.Comparison{}, fmt.Errorf("challenger: %w", err)
	}
	broken, err := e.answer(ctx, candidates, old, next)
	if err != nil {
		return dg.Comparison{}, err
	}
	pairs := make([]Pair, len(candidates))
	for i, c := range candidates {
		pairs[i] = c.Pair
	}
	c := e.o.Gate.Judge([]Trial{{Suite: KindHeldout, Pairs: pairs, Population: population}})
	if len(broken) > 0 {
		c.Reasons = append(c.Reasons, "the first that could not be read: "+broken[0].Error())
	}
	if foreign > 0 {
		c.Reasons = append(c.Reasons, fmt.Sprintf("%d labelled samples were left out: their label is in neither model's class list", foreign))
	}
	return c, nil
}

func sameClasses(champion, challenger *network.Artifact) error {
	a, b := champion.Manifest.Classes, challenger.Manifest.Classes
	if !slices.Equal(a, b) {
		return fmt.Errorf("evaluator: champion knows %d classes %q, challenger %d classes %q: want the same list: %w", len(a), a, len(b), b, dg.ErrInvalid)
	}
	return nil
}

// candidate is a pair to be, with where its image lies.
type candidate struct {
	Pair
	key string // in the clean bucket
}

// candidates are the labelled samples of iv in neither manifest, by id, at
// most MaxPairs drawn by a hash of their own; foreign counts those left out
// because neither model knows their label.
func (e *Evaluator) candidates(ctx context.Context, champion, challenger *network.Artifact, iv dg.Interval) (out []candidate, foreign int, err error) {
	picks, err := e.labels.Picks(ctx, "", iv)
	if err != nil {
		return nil, 0, err
	}
	design := make(map[string]ledger.Pick, len(picks))
	for _, p := range picks {
		design[p.ID] = p
	}
	trained := make(map[string]bool, len(champion.Manifest.TrainedOn)+len(challenger.Manifest.TrainedOn))
	for _, m := range []network.Manifest{champion.Manifest, challenger.Manifest} {
		for _, id := range m.TrainedOn {
			trained[id] = true
		}
	}
	for r, err := range e.labels.Labelled(ctx, iv) {
		if err != nil {
			return nil, 0, err
		}
		id := r.ID()
		p, known := design[id]
		if trained[id] || !known {
			continue // unknown: labelled between the two reads; it counts next time
		}
		class := champion.Manifest.Classes.Index(r.Label)
		if class < 0 {
			foreign++
			continue
		}
		out = append(out, candidate{Pair{ID: id, Stratum: p.Stratum, Interval: p.Interval, Label: r.Label}, dg.SampleKey(class, id)})
	}
	slices.SortFunc(out, func(a, b candidate) int { return cmp.Compare(a.ID, b.ID) })
	return atMost(out, e.o.withDefaults().MaxPairs), foreign, nil
}

// atMost draws n candidates by a hash that knows neither the answers nor the
// holdout, and keeps them in the order of their ids.
func atMost(cs []candidate, n int) []candidate {
	if len(cs) <= n {
		return cs
	}
	hash := func(c candidate) []byte {
		sum := sha256.Sum256([]byte("evaluate\x00" + c.ID))
		return sum[:]
	}
	slices.SortFunc(cs, func(a, b candidate) int { return bytes.Compare(hash(a), hash(b)) })
	cs = cs[:n]
	slices.SortFunc(cs, func(a, b candidate) int { return cmp.Compare(a.ID, b.ID) })
	return cs
}
