package trainer

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/estimate"
	"driftgate/internal/network"
)

const maxChecked = 50_000_000 // probabilities held at once

// check looks for labels that are probably wrong: every sample is judged by a
// model that learned from the other folds only, the network of the training in a
// quarter of its epochs, and a label against which that model is confident is a
// suspect (Northcutt et al., 2021). Proxy labels that are suspect are dropped or
// lowered; those of people and of the base dataset are reported and, if wished,
// lowered.
func (m *material) check(ctx context.Context, o Options, progress func(Progress)) error {
	q := o.Quality
	if q.Folds == 0 {
		return nil
	}
	a := &m.account.Quality
	a.Folds, a.Suspects = q.Folds, map[string]int{}
	probabilities, err := m.crossValidate(ctx, o, progress)
	if err != nil {
		return err
	}
	labels := slices.Concat(m.train.labels, m.valid.labels)
	noise, err := estimate.ConfidentLearning(labels, probabilities)
	if err != nil {
		return fmt.Errorf("trainer: check labels: %w", err)
	}
	a.Checked, a.Accuracy = len(labels), m.checkAccuracy(probabilities)
	drop := map[int]bool{}
	for _, i := range noise.Suspects {
		s, at := m.at(i)
		factor := map[string]float64{baseSource: q.BaseFactor, string(dg.HumanLabel): q.HumanFactor, string(dg.ProxyLabel): q.ProxyFactor}[s.sources[at]]
		looks := confidentOf(probabilities[i], noise.Thresholds)
		suspect := network.Suspect{ID: s.ids[at], Source: s.sources[at], Label: m.base.Classes[s.labels[at]],
			Looks: m.base.Classes[looks], Confidence: math.Round(probabilities[i][looks]*1000) / 1000, Action: "reported"}
		switch {
		case factor == 0:
			suspect.Action = "dropped"
			drop[i] = true
			a.Dropped++
		case factor < 1:
			suspect.Action = "lowered"
			// A wrong label is much less likely than what the image looks like; the
			// unusual image under a right one, from which most is learned, is not.
			ratio := probabilities[i][s.labels[at]] / probabilities[i][looks]
			s.weights[at] *= float32(min(1, max(factor, ratio)))
			a.Lowered++
		}
		a.Suspects[suspect.Source]++
		a.List = append(a.List, suspect)
	}
	slices.SortStableFunc(a.List, func(x, y network.Suspect) int {
		return cmp.Or(cmp.Compare(y.Confidence, x.Confidence), cmp.Compare(x.ID, y.ID))
	})
	a.List = slices.Clone(a.List[:min(len(a.List), network.MaxSuspects)])
	trained := m.train.len()
	m.valid.remove(func(i int) bool { return drop[trained+i] })
	m.train.remove(func(i int) bool { return drop[i] })
	return nil
}

// at is sample i of training and validation together.
func (m *material) at(i int) (*samples, int) {
	if n := m.train.len(); i >= n {
		return &m.valid, i - n
	}
	return &m.train, i
}

// remove takes samples out, in place.
func (s *samples) remove(gone func(i int) bool) {
	n := 0
	for i := range s.labels {
		if gone(i) {
			continue
		}
		s.images[n], s.labels[n], s.weights[n], s.ids[n], s.sources[n] = s.images[i], s.labels[i], s.weights[i], s.ids[i], s.sources[i]
		n++
	}
	clear(s.images[n:])
	s.images, s.labels, s.weights, s.ids, s.sources = s.images[:n], s.labels[:n], s.weights[:n], s.ids[:n], s.sources[:n]
}

// crossValidate returns the probabilities of every sample, training before
// validation, by a model that has not seen it.
func (m *material) crossValidate(ctx context.Context, o Options, progress func(Progress)) ([][]float64, error) {
	n, classes := m.train.len()+m.valid.len(), len(m.base.Classes)
	if n*classes > maxChecked {
		return nil, fmt.Errorf("trainer: check labels: %d samples of %d classes: want at most %d probabilities, or quality.folds 0: %w", n, classes, maxChecked, dg.ErrInvalid)
	}
	fold := make([]int, n)
	for i := range fold {
		s, at := m.at(i)
		fold[i] = int(share(o.Seed, "fold", s.ids[at]) * float64(o.Quality.Folds))
	}
	out := make([][]float64, n)
	for k := range o.Quality.Folds {
		progress(Progress{Phase: Checking, Step: k + 1, Steps: o.Quality.Folds, Epochs: o.Epochs})
		var learn, judge []int
		for i, f := range fold {
			if f == k {
				judge = append(judge, i)
			} else {
				learn = append(learn, i)
			}
		}
		if err := m.judgeFold(ctx, o, k, learn, judge, out); err != nil {
			return nil, fmt.Errorf("trainer: check labels: fold %d of %d: %w", k+1, o.Quality.Folds, err)
		}
	}
	return out, nil
}

// judgeFold trains briefly on learn, from scratch, as the training itself will
// but without augmentation and smoothing, and writes the probabilities of judge.
func (m *material) judgeFold(ctx context.Context, o Options, fold int, learn, judge []int, out [][]float64) error {
	spec, batch := o.spec(m.base), max(1, min(o.Batch, len(learn)))
	rng := rand.New(rand.NewPCG(o.Seed, streamCheck+uint64(fold)))
	l, err := network.NewLearner(spec, batch, network.NewWeights(spec, rng), o.kind(), network.OptimiserState{})
	if err != nil {
		return err
	}
	epochs := cmp.Or(o.Quality.Epochs, max(4, o.Epochs/4))
	descent := o.Descent
	descent.Warmup = min(o.Warmup, epochs/4)
	steps := (len(learn) + batch - 1) / batch
	b := network.Batch{Inputs: make([]float32, batch*m.pre.Size())}
	levels := m.pre.Levels()
	for e := range epochs {
		rng.Shuffle(len(learn), func(i, j int) { learn[i], learn[j] = learn[j], learn[i] })
		for step := range steps {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("stopped: %w", context.Cause(ctx))
			}
			m.batch(&b, levels, learn[step*batch:min(len(learn), (step+1)*batch)])
			b.Seed = rng.Uint64()
			if _, err := l.Step(b, descent.optimiser(descent.rate(e, epochs, step, steps))); err != nil {
				return descent.explain(err, e, step, steps)
			}
		}
	}
	logits, err := m.logits(spec, l.Weights(), len(judge), func(k int) []byte {
		s, at := m.at(judge[k])
		return s.image(at)
	})
	if err != nil {
		return err
	}
	for k, i := range judge {
		out[i] = softmax(logits[k*spec.Classes:][:spec.Classes])
	}
	return nil
}

// batch fills b with the given samples.
func (m *material) batch(b *network.Batch, levels dataset.Levels, rows []int) {
	size := m.pre.Size()
	b.Labels, b.Weights = b.Labels[:0], b.Weights[:0]
	for row, i := range rows {
		s, at := m.at(i)
		levels.Pixels(s.image(at), b.Inputs[row*size:][:size])
		b.Labels, b.Weights = append(b.Labels, s.labels[at]), append(b.Weights, s.weights[at])
	}
}

func softmax(logits []float32) []float64 {
	top, sum := slices.Max(logits), 0.0
	out := make([]float64, len(logits))
	for i, v := range logits {
		out[i] = math.Exp(float64(v - top))
		sum += out[i]
	}
	for i := range out {
		out[i] = min(1, out[i]/sum)
	}
	return out
}

// confidentOf is the likeliest class whose probability reaches its threshold;
// a suspect has one.
func confidentOf(p, thresholds []float64) int {
	best := -1
	for j, x := range p {
		if x >= thresholds[j] && thresholds[j] > 0 && (best < 0 || x > p[best]) {
			best = j
		}
	}
	return max(best, 0)
}

// checkAccuracy is the checking models' accuracy where labels are not the
// model's own.
func (m *material) checkAccuracy(probabilities [][]float64) float64 {
	right, n := 0, 0
	for i, p := range probabilities {
		s, at := m.at(i)
		if s.sources[at] == string(dg.ProxyLabel) {
			continue
		}
		if n++; slices.Index(p, slices.Max(p)) == s.labels[at] {
			right++
		}
	}
	return float64(right) / float64(max(1, n))
}
