package trainer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	dg "driftgate"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
)

// Train runs a job in this process and returns its artifact, which is also in
// job.Dir/artifact. It resumes from the checkpoint in job.Dir, exactly as if it
// had never stopped, and returns at once the artifact that an earlier run of
// the same job left there. Cancelling ctx leaves the checkpoint of the last
// whole epoch. progress (may be nil) is called on the caller's goroutine.
//
// Permanent faults are [dg.ErrInvalid], [dg.ErrNotFound] or
// [dg.ErrTooFewSamples]; a loss that is not finite any more is also
// [network.ErrDiverged] and names the step and the likely cause.
func Train(ctx context.Context, job Job, progress func(Progress)) (*network.Artifact, error) {
	if err := job.Validate(); err != nil {
		return nil, err
	}
	store, err := objstore.Open(job.Store)
	if err != nil {
		return nil, fmt.Errorf("trainer: open store: %w", err)
	}
	return train(ctx, job, stored{store, job.Buckets.Datasets, job.Buckets.Models}, progress)
}

func train(ctx context.Context, job Job, src source, progress func(Progress)) (*network.Artifact, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	if err := job.Validate(); err != nil {
		return nil, err
	}
	key, err := job.key()
	if err != nil {
		return nil, err
	}
	if a, _, err := readFinished(job.Dir, key); err == nil {
		return a, nil
	}
	m, err := gather(ctx, job, src, progress)
	if err != nil {
		return nil, err
	}
	a, err := learn(ctx, job, key, m, progress)
	if err != nil {
		return nil, err
	}
	files, err := a.Files()
	if err != nil {
		return nil, err
	}
	if err := writeFinished(job.Dir, key, files); err != nil {
		return nil, err
	}
	a, _, err = network.ReadArtifact(files) // as everyone else will see it
	return a, err
}

// learn runs one training, or those of a search, and finishes the artifact.
func learn(ctx context.Context, job Job, key string, m *material, progress func(Progress)) (*network.Artifact, error) {
	if job.Options.Search.Trials > 0 {
		return search(ctx, job, key, m, progress)
	}
	t, err := newTraining(job, key, m, progress)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if t.state.Epoch > 0 {
		slog.Info("training resumes", "component", "trainer", "run", job.RunID, "epoch", t.state.Epoch)
	}
	if err := t.run(ctx); err != nil {
		return nil, err
	}
	return t.finish()
}

// training is one run of the loop.
type training struct {
	job      Job
	m        *material
	spec     network.Spec
	state    *state
	learner  *network.Learner
	feed     *feed
	progress func(Progress)

	batch int // samples a step: as asked for, or all there are
	order []int
	rate  float64 // of the epoch's first step
	began time.Time
	seen  int // samples since began
	shown time.Time
}

func newTraining(job Job, key string, m *material, progress func(Progress)) (*training, error) {
	o := job.Options
	t := &training{
		job: job, m: m, progress: progress, began: time.Now(), spec: o.spec(m.base), batch: min(o.Batch, m.perEpoch())}
	if err := t.spec.Validate(); err != nil {
		return nil, err
	}
	digest := m.digest()
	s, err := readCheckpoint(job.Dir, t.spec, t.learns())
	switch {
	case err == nil && s.Job == key && s.Samples == digest: // it resumes
	case err == nil || errors.Is(err, dg.ErrNotFound) || errors.Is(err, dg.ErrInvalid):
		if err == nil || errors.Is(err, dg.ErrInvalid) {
			slog.Warn("checkpoint is not of this job: training from the start", "component", "trainer", "run", job.RunID, "error", err)
		}
		w := network.NewWeights(t.spec, rand.New(rand.NewPCG(o.Seed, streamWeights)))
		if m.parent != nil {
			w = m.parent.Weights
		}
		s = &state{Job: key, Samples: digest, BestLoss: math.MaxFloat64, weights: w, best: w}
	default:
		return nil, err
	}
	t.state = s
	learned := s.weights
	if o.starts() == Head {
		learned = s.weights.Head(t.spec)
	}
	if t.learner, err = network.NewLearner(t.learns(), t.batch, learned, o.kind(), s.optimiser); err != nil {
		return nil, err
	}
	s.optimiser = t.learner.State()
	t.account(learned)
	if t.feed, err = newFeed(t); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// close lets go of what only learning needs, so that its memory can be had again.
func (t *training) close() { t.learner, t.feed = nil, nil }

// learns is the part of the network whose weights move: all of it, or the head.
func (t *training) learns() network.Spec {
	if t.job.Options.starts() == Head {
		return t.spec.Head()
	}
	return t.spec
}

// account notes what training begins with.
func (t *training) account(learned network.Weights) {
	a := &t.m.account.Start
	a.From, a.Learned = t.job.Options.starts(), parameters(learned)
	a.Frozen = t.spec.Parameters() - a.Learned
	if t.m.parent != nil {
		a.Parent = t.job.Parent
	}
}

// digest covers ids, labels, weights and pixels of both splits, in order.
func (m *material) digest() string {
	h := sha256.New()
	for _, s := range []*samples{&m.train, &m.valid} {
		fmt.Fprintf(h, "%d\n", s.len())
		for i, id := range s.ids {
			fmt.Fprintf(h, "%q %d %g\n", id, s.labels[i], s.weights[i])
		}
		for _, px := range s.images {
			h.Write(px)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// run trains epoch by epoch until all are done or nothing improves any more.
func (t *training) run(ctx context.Context) error { return t.until(ctx, t.job.Options.Epochs) }

// until trains until that many epochs are done in all, or nothing improves any
// more; what comes after goes on as if there had been no break.
func (t *training) until(ctx context.Context, epochs int) error {
	if t.state.Epoch == 0 { // so that there is a checkpoint from the start
		if err := t.state.save(t.job.Dir); err != nil {
			return err
		}
	}
	for t.state.Epoch < min(epochs, t.job.Options.Epochs) && !t.stale() {
		began := time.Now()
		if err := t.epoch(ctx); err != nil {
			return err
		}
		point, err := t.judge()
		if err != nil {
			return err
		}
		point.LearningRate, point.Seconds = t.rate, math.Round(time.Since(began).Seconds()*1000)/1000
		t.state.plot(point)
		if err := t.state.save(t.job.Dir); err != nil {
			return err
		}
	}
	return nil
}

func (t *training) stale() bool {
	p := t.job.Options.Patience
	return p > 0 && t.m.valid.len() > 0 && t.state.Stale >= p
}

// epoch passes over the training samples once, in an order that follows from
// seed and epoch.
func (t *training) epoch(ctx context.Context) error {
	o, s := t.job.Options, t.state
	t.order = epochOrder(t.order, &t.m.train, t.m.draws, rand.New(rand.NewPCG(o.Seed, streamEpoch+uint64(s.Epoch))))
	var loss, correct, weight float64
	varied := 0
	err := t.feed.epoch(t.order, t.batch, s.Epoch, func(b *minibatch, step, steps int) error {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("trainer: stopped in epoch %d, step %d of %d (the checkpoint holds %d epochs): %w", s.Epoch+1, step+1, steps, s.Epoch, context.Cause(ctx))
		}
		rate := o.rate(s.Epoch, o.Epochs, step, steps)
		if step == 0 {
			t.rate = rate
		}
		st, err := t.step(b, step, o.optimiser(rate))
		if err != nil {
			return fmt.Errorf("trainer: %w", o.explain(err, s.Epoch, step, steps))
		}
		loss, correct, weight = loss+st.Loss*st.Weight, correct+st.Correct, weight+st.Weight
		t.seen, varied = t.seen+len(b.labels), varied+b.varied
		t.tell(step+1, steps, loss/weight, correct/weight)
		return nil
	})
	if err != nil {
		return err
	}
	if !(weight > 0) {
		return fmt.Errorf("trainer: epoch %d: its %d samples weigh nothing together: want larger weights: %w", s.Epoch+1, len(t.order), dg.ErrInvalid)
	}
	s.Epoch++
	s.Varied += varied
	s.TrainLoss, s.TrainAcc = loss/weight, correct/weight
	return nil
}

// step learns from a batch, the given one of its epoch.
func (t *training) step(b *minibatch, step int, o network.Optimiser) (network.Stats, error) {
	d := t.job.Options
	return t.learner.Step(network.Batch{Inputs: b.inputs, Labels: b.labels, Weights: b.weights, Smoothing: d.Smoothing, Seed: stepSeed(d.Seed, t.state.Epoch, step)}, o)
}

// stepSeed is what dropout draws from in a step: nothing that came before
// matters.
func stepSeed(seed uint64, epoch, step int) uint64 {
	return rand.NewPCG(seed^streamDropout<<32, uint64(epoch)<<32|uint64(step)).Uint64()
}

// diverged is [Descent.explain] for an epoch that is over.
func (t *training) diverged(err error) error {
	return fmt.Errorf("trainer: after epoch %d: %w: %w: %s: %w", t.state.Epoch, network.ErrDiverged, err, t.job.Options.advice(), dg.ErrInvalid)
}

// judge measures the epoch on the validation samples and keeps the best
// weights; without validation samples the last are the best.
func (t *training) judge() (network.Epoch, error) {
	s := t.state
	learned := t.learner.Weights()
	if s.optimiser = t.learner.State(); t.job.Options.starts() == Head {
		learned = s.weights.WithHead(learned)
	}
	s.weights = learned
	point := network.Epoch{Epoch: s.Epoch, TrainLoss: s.TrainLoss, TrainAccuracy: s.TrainAcc}
	if err := s.weights.Check(t.spec); err != nil {
		return point, t.diverged(err)
	}
	loss, accuracy := s.TrainLoss, 0.0
	if t.m.valid.len() > 0 {
		logits, err := t.m.logits(t.spec, s.weights, t.m.valid.len(), t.m.valid.image)
		if err != nil {
			return point, err
		}
		loss = network.LogLoss(logits, t.m.valid.labels, t.m.valid.weights, t.spec.Classes, 1)
		if math.IsNaN(loss) || math.IsInf(loss, 0) {
			return point, t.diverged(fmt.Errorf("the validation loss is %v", loss))
		}
		accuracy = weightedAccuracy(logits, t.m.valid.labels, t.m.valid.weights, t.spec.Classes)
		point.ValidationLoss, point.ValidationAccuracy = loss, accuracy
	}
	if s.Stale++; loss < s.BestLoss || t.m.valid.len() == 0 {
		s.best, s.BestEpoch, s.BestLoss, s.ValidAcc, s.Stale = s.weights, s.Epoch, loss, accuracy, 0
	}
	return point, nil
}

// judgedBytes is how many bytes of images are judged at once.
const judgedBytes = 2 << 20

// logits runs n images through weights, part by part.
func (m *material) logits(spec network.Spec, w network.Weights, n int, image func(i int) []byte) ([]float32, error) {
	f, err := network.NewForward(spec, w, m.pre.Levels())
	if err != nil {
		return nil, err
	}
	part := min(n, max(16, judgedBytes/m.pre.Size()))
	out, px := make([]float32, 0, n*spec.Classes), make([]byte, 0, part*m.pre.Size())
	for at := 0; at < n; at += part {
		px = px[:0]
		for i := at; i < min(n, at+part); i++ {
			px = append(px, image(i)...)
		}
		l, err := f.Pixels(px)
		if err != nil {
			return nil, err
		}
		out = append(out, l...)
	}
	return out, nil
}

// weightedAccuracy is the share of the weight that is classified right.
func weightedAccuracy(logits []float32, labels []int, weights []float32, classes int) float64 {
	var correct, total float64
	for i, label := range labels {
		w := 1.0
		if weights != nil {
			w = float64(weights[i])
		}
		if total += w; network.Argmax(logits[i*classes:][:classes]) == label {
			correct += w
		}
	}
	if total == 0 {
		return 0
	}
	return correct / total
}

// tellEvery bounds how often progress is reported.
const tellEvery = 200 * time.Millisecond

func (t *training) tell(step, steps int, loss, accuracy float64) {
	now := time.Now()
	if step < steps && now.Sub(t.shown) < tellEvery {
		return
	}
	t.shown = now
	o, s := t.job.Options, t.state
	rate := float64(t.seen) / max(now.Sub(t.began).Seconds(), 1e-9)
	left := float64(o.Epochs-s.Epoch)*float64(len(t.order)) - float64(step*t.batch)
	p := Progress{
		Phase: Training, Epoch: s.Epoch + 1, Epochs: o.Epochs, Step: step, Steps: steps,
		Loss: loss, Accuracy: accuracy, SamplesPerSecond: rate, SecondsLeft: max(0, left) / rate,
	}
	if t.m.valid.len() > 0 && s.BestEpoch > 0 {
		p.ValidationLoss, p.ValidationAccuracy = s.BestLoss, s.ValidAcc
	}
	t.progress(p)
}
