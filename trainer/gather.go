package trainer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
)

// source is where a job's images come from.
type source interface {
	Base(ctx context.Context, ref string) (dataset.Set, error)
	Image(ctx context.Context, bucket, key string) ([]byte, error)
	Parent(ctx context.Context, ref dg.ModelRef) (*network.Artifact, error)
}

// stored is the source over an object store.
type stored struct {
	store            *objstore.Store
	datasets, models string // buckets
}

func (s stored) Base(ctx context.Context, ref string) (dataset.Set, error) {
	return dataset.Load(ctx, s.store.Bucket(s.datasets), dataset.Ref(ref))
}

func (s stored) Image(ctx context.Context, bucket, key string) ([]byte, error) {
	b, _, err := s.store.Get(ctx, bucket, key)
	return b, err
}

// baseSource marks samples of the base dataset, beside the label sources.
const baseSource = "base"

// samples are images of one size in memory, as uint8 until a batch is made.
type samples struct {
	images  [][]byte // not copied: parts of the base set, or production images
	labels  []int
	weights []float32
	ids     []string
	sources []string
}

func (s *samples) add(px []byte, label int, weight float64, id, source string) {
	s.images = append(s.images, px)
	s.labels = append(s.labels, label)
	s.weights = append(s.weights, float32(weight))
	s.ids = append(s.ids, id)
	s.sources = append(s.sources, source)
}

func (s *samples) len() int { return len(s.labels) }

func (s *samples) image(i int) []byte { return s.images[i] }

// material is what a network is trained from.
type material struct {
	base    dataset.Set // without its training pixels
	pre     dataset.Preprocessing
	parent  *network.Artifact // whose weights training begins with; nil for none
	train   samples
	valid   samples
	draws   []int    // samples of each class that an epoch takes; nil is all, once each
	skipped []string // production images that could not be used, each with its reason
	account Composition
}

// gather loads the base dataset and the production images, splits them into
// training and validation, and settles what each weighs.
func gather(ctx context.Context, job Job, src source, progress func(Progress)) (*material, error) {
	set, err := src.Base(ctx, job.Dataset)
	if err != nil {
		return nil, fmt.Errorf("trainer: load base dataset %s: %w", job.Dataset, err)
	}
	if err := set.Classes.Validate(); err != nil {
		return nil, fmt.Errorf("trainer: base dataset %s: %w", job.Dataset, err)
	}
	if err := trainable(job, set); err != nil {
		return nil, err
	}
	m := &material{base: set, pre: set.Preprocessing(), account: job.Composition}
	if m.parent, err = parent(ctx, job, set, src); err != nil {
		return nil, err
	}
	m.addBase(job.Options)
	images, err := fetch(ctx, job, m.pre, src, progress)
	if err != nil {
		return nil, err
	}
	for i, e := range job.Examples {
		label := set.Classes.Index(e.Label)
		switch {
		case images[i].err != nil:
			m.skipped = append(m.skipped, fmt.Sprintf("%s: %v", e.ID, images[i].err))
		case label < 0:
			m.skipped = append(m.skipped, fmt.Sprintf("%s: label %q is not a class of %s", e.ID, e.Label, job.Dataset))
		default:
			m.put(job.Options, images[i].pixels, label, e.Weight, e.ID, string(e.Source))
		}
	}
	large := len(m.base.Train.Pixels) > manyPixels
	m.base.Train = dataset.Split{} // what is not trained on may go: tens of megabytes
	if large {
		debug.FreeOSMemory() // and what it was unpacked from: the network's buffers come next
	}
	if m.train.len() > 0 {
		if err := m.check(ctx, job.Options, progress); err != nil {
			return nil, err
		}
	}
	if m.train.len() == 0 {
		return nil, fmt.Errorf("trainer: nothing to train on: no base samples and no usable image among %d examples: %w", len(job.Examples), dg.ErrTooFewSamples)
	}
	if err := m.everyClass(job); err != nil {
		return nil, err
	}
	m.draws = m.balance(job.Options)
	m.weighClasses(job.Options.ClassWeights)
	m.settle(job.Options)
	return m, nil
}

// trainable refuses, as [dg.ErrInvalid] and by name, class weights of labels
// that there are not, and a class of which nothing can be learned: one that has
// no image, neither in the base set nor among the examples.
func trainable(job Job, set dataset.Set) error {
	var f faults
	for _, label := range slices.Sorted(maps.Keys(job.Options.ClassWeights)) {
		f.want(set.Classes.Index(label) >= 0, "class_weights: %q is not a class: want one of %q", label, set.Classes)
	}
	images := make([]int, len(set.Classes))
	for _, label := range set.Train.Labels {
		images[label]++
	}
	for _, e := range job.Examples {
		if i := set.Classes.Index(e.Label); i >= 0 {
			images[i]++
		}
	}
	for i, n := range images {
		f.want(n > 0, "class %q has no image: want one at least, or a dataset without that class", set.Classes[i])
	}
	if len(f) > 0 {
		return fmt.Errorf("trainer: learn from %s: %w: %w", job.Dataset, dg.ErrInvalid, errors.Join(f...))
	}
	return nil
}

// everyClass looks for classes of which nothing is left to learn once samples
// were picked, skipped, split and checked. The only image of a class teaches
// rather than validates. Without any a training from scratch is refused, as
// [dg.ErrInvalid] and by name; weights that begin with a parent's know the class,
// and the account names it.
func (m *material) everyClass(job Job) error {
	learned, judged := classCounts(&m.train, len(m.base.Classes)), classCounts(&m.valid, len(m.base.Classes))
	var missing []string
	for c, n := range learned {
		switch {
		case n > 0:
		case judged[c] > 0:
			m.teach(slices.Index(m.valid.labels, c))
		default:
			missing = append(missing, m.base.Classes[c])
		}
	}
	if len(missing) > 0 && job.Options.starts() == Scratch {
		return fmt.Errorf("trainer: learn from %s: no image is left of the classes %q (replay %d, %d examples, %d of them unusable): want one of each at least: more replay, or start %s: %w",
			job.Dataset, missing[:min(len(missing), maxNamed)], job.Options.Replay, len(job.Examples), len(m.skipped), Warm, dg.ErrInvalid)
	}
	m.account.Sampling.Unlearned = missing[:min(len(missing), maxNamed)]
	return nil
}

// teach moves a sample that validates to those that are learned from.
func (m *material) teach(i int) {
	v := &m.valid
	m.train.images, m.train.labels, m.train.weights = append(m.train.images, v.images[i]), append(m.train.labels, v.labels[i]), append(m.train.weights, v.weights[i])
	m.train.ids, m.train.sources = append(m.train.ids, v.ids[i]), append(m.train.sources, v.sources[i])
	v.remove(func(k int) bool { return k == i })
}

// manyPixels is from how many bytes on giving memory back is worth the tenth of
// a second that it takes.
const manyPixels = 16 << 20

// put adds a sample to the training or the validation split, by its id.
func (m *material) put(o Options, px []byte, label int, weight float64, id, source string) {
	to := &m.train
	if share(o.Seed, "validation", id) < o.Validation {
		to = &m.valid
	}
	to.add(px, label, weight, id, source)
}

// addBase adds the base samples that are replayed; those of weak classes weigh
// more.
func (m *material) addBase(o Options) {
	picked := replay(m.base, o)
	m.account.Sampling.Replay = replayed(m.base, picked)
	weak := newWeak(o.Quality)
	image := m.replayable(picked)
	for k, i := range picked {
		label := int(m.base.Train.Labels[i])
		m.put(o, image(k), label, weak.factor(traits{class: m.base.Classes[label]}), m.base.Train.IDs[i], baseSource)
	}
	if composed := m.account.Quality.Weak; len(composed) == len(weak.account) {
		for i := range composed {
			weak.account[i].Samples += composed[i].Samples
		}
	}
	m.account.Quality.Weak = weak.account
}

// replayable returns where the picked images of the base set lie: in the set
// itself, or, when they are the smaller part of it, in a copy, so that the rest
// need not stay in memory.
func (m *material) replayable(picked []int) func(k int) []byte {
	if 2*len(picked) >= m.base.Train.Len() {
		return func(k int) []byte { return m.base.Image(m.base.Train, picked[k]) }
	}
	size := m.base.ImageBytes()
	own := make([]byte, 0, len(picked)*size)
	for _, i := range picked {
		own = append(own, m.base.Image(m.base.Train, i)...)
	}
	return func(k int) []byte { return own[k*size : (k+1)*size : (k+1)*size] }
}

// settle completes the account with what the loaded set shows.
func (m *material) settle(o Options) {
	a := &m.account
	a.Labelling.HumanWeight, a.Labelling.ProxyWeight = 0, 0
	for _, s := range []*samples{&m.train, &m.valid} {
		for i, source := range s.sources {
			switch source {
			case string(dg.HumanLabel):
				a.Labelling.HumanWeight += float64(s.weights[i])
			case string(dg.ProxyLabel):
				a.Labelling.ProxyWeight += float64(s.weights[i])
			}
		}
	}
	a.Evaluation.Holdout, a.Evaluation.Validation = o.Holdout, o.Validation
	a.Evaluation.Validating = map[string]int{}
	for _, source := range m.valid.sources {
		a.Evaluation.Validating[source]++
	}
	a.Augmentation.Applied, a.Augmentation.LeftOut = o.Augment.Sensible(m.base.Classes, m.pre.Height, m.pre.Width, m.pre.Channels)
}

// Streams of the seed's generator: one for each use, so that none disturbs
// another. Epoch e shuffles with stream streamEpoch + e, fold k of the label
// check draws from streamCheck + k.
const (
	streamWeights = 1
	streamReplay  = 2
	streamDropout = 3
	streamCheck   = 100
	streamEpoch   = 1000
)

// share hashes an id to [0, 1), by seed and purpose.
func share(seed uint64, purpose, id string) float64 {
	b := binary.BigEndian.AppendUint64([]byte(purpose+"\x00"), seed)
	sum := sha256.Sum256(append(b, id...))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}

// fetched is one production image, or why there is none.
type fetched struct {
	pixels []byte
	err    error
}

// fetchers is how many images are under way at once; decoding is most of it.
const fetchers = 8

// fetch loads the examples' images. An image that is missing or broken is an
// error of that image; any other fault of the store ends the job, because the
// same job must give the same artifact.
func fetch(ctx context.Context, job Job, pre dataset.Preprocessing, src source, progress func(Progress)) ([]fetched, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out := make([]fetched, len(job.Examples))
	next, done := make(chan int), make(chan struct{})
	var wg sync.WaitGroup
	for range min(fetchers, len(out)) {
		wg.Go(func() {
			for i := range next {
				px, err := load(ctx, job.Examples[i], job.Buckets.Clean, pre, src)
				out[i] = fetched{px, err}
				if err != nil && !errors.Is(err, dg.ErrInvalid) && !errors.Is(err, dg.ErrNotFound) {
					stop(fmt.Errorf("image %s: %w", job.Examples[i].ID, err))
					return
				}
				select {
				case done <- struct{}{}:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	wg.Go(func() {
		defer close(next)
		for i := range out {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	})
	for k := range out {
		select {
		case <-done:
		case <-ctx.Done():
			wg.Wait()
			return nil, fmt.Errorf("trainer: load images: %w", context.Cause(ctx))
		}
		if (k+1)%200 == 0 || k+1 == len(out) {
			progress(Progress{Phase: Loading, Step: k + 1, Steps: len(out), Epochs: job.Options.Epochs})
		}
	}
	wg.Wait()
	return out, nil
}

// load reads one image at the model's size. A person's label is in the clean
// bucket under the same key, should its copy in noisy be missing.
func load(ctx context.Context, e Example, clean string, pre dataset.Preprocessing, src source) ([]byte, error) {
	b, err := src.Image(ctx, e.Bucket, e.Key)
	if errors.Is(err, dg.ErrNotFound) && e.Source == dg.HumanLabel && clean != "" && clean != e.Bucket {
		b, err = src.Image(ctx, clean, e.Key)
	}
	if err != nil {
		return nil, err
	}
	img, _, err := dataset.Decode(b, dataset.DefaultLimits)
	if err != nil {
		return nil, err
	}
	return pre.Raster(img), nil
}
