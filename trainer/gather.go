package trainer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/objstore"
)

// source is where a job's images come from.
type source interface {
	Base(ctx context.Context, ref string) (dataset.Set, error)
	Image(ctx context.Context, bucket, key string) ([]byte, error)
}

// stored is the source over an object store.
type stored struct {
	store    *objstore.Store
	datasets string
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
	size    int // bytes an image
	pixels  []byte
	labels  []int
	weights []float32
	ids     []string
	sources []string
}

func (s *samples) add(px []byte, label int, weight float64, id, source string) {
	s.pixels = append(s.pixels, px...)
	s.labels = append(s.labels, label)
	s.weights = append(s.weights, float32(weight))
	s.ids = append(s.ids, id)
	s.sources = append(s.sources, source)
}

func (s *samples) len() int { return len(s.labels) }

func (s *samples) image(i int) []byte { return s.pixels[i*s.size:][:s.size] }

// material is what a network is trained from.
type material struct {
	base    dataset.Set // without its training pixels
	pre     dataset.Preprocessing
	train   samples
	valid   samples
	skipped []string // production images that could not be used, each with its reason
}

// gather loads the base dataset and the production images, and splits them
// into training and validation.
func gather(ctx context.Context, job Job, src source, progress func(Progress)) (*material, error) {
	set, err := src.Base(ctx, job.Dataset)
	if err != nil {
		return nil, fmt.Errorf("trainer: load base dataset %s: %w", job.Dataset, err)
	}
	if err := set.Classes.Validate(); err != nil {
		return nil, fmt.Errorf("trainer: base dataset %s: %w", job.Dataset, err)
	}
	m := &material{base: set, pre: set.Preprocessing()}
	m.train.size, m.valid.size = m.pre.Size(), m.pre.Size()
	o := job.Options
	put := func(px []byte, label int, weight float64, id, source string) {
		to := &m.train
		if share(o.Seed, "validation", id) < o.Validation {
			to = &m.valid
		}
		to.add(px, label, weight, id, source)
	}
	for _, i := range replay(set, o) {
		put(set.Image(set.Train, i), int(set.Train.Labels[i]), 1, set.Train.IDs[i], baseSource)
	}
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
			put(images[i].pixels, label, e.Weight, e.ID, string(e.Source))
		}
	}
	m.base.Train = dataset.Split{} // used up: tens of megabytes
	if m.train.len() == 0 {
		return nil, fmt.Errorf("trainer: nothing to train on: no base samples and no usable image among %d examples: %w", len(job.Examples), dg.ErrTooFewSamples)
	}
	return m, nil
}

// replay picks base samples: all, or o.Replay of them with each class in its
// share (largest remainder), drawn by the seed. Ascending.
func replay(set dataset.Set, o Options) []int {
	n := set.Train.Len()
	byClass := make([][]int, len(set.Classes))
	for i, label := range set.Train.Labels {
		byClass[label] = append(byClass[label], i)
	}
	want := o.Replay
	if want < 0 || want > n {
		want = n
	}
	quota := make([]int, len(byClass))
	order := make([]int, len(byClass))
	left := want
	for c, members := range byClass {
		order[c] = c
		quota[c] = want * len(members) / max(n, 1)
		left -= quota[c]
	}
	remainder := func(c int) int { return want * len(byClass[c]) % max(n, 1) }
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(remainder(b), remainder(a)) })
	for _, c := range order[:left] {
		quota[c]++
	}
	rng := rand.New(rand.NewPCG(o.Seed, streamReplay))
	var out []int
	for c, members := range byClass {
		rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		out = append(out, members[:quota[c]]...)
	}
	slices.Sort(out)
	return out
}

// Streams of the seed's generator: one for each use, so that none disturbs
// another. Epoch e shuffles with stream streamEpoch + e.
const (
	streamWeights = 1
	streamReplay  = 2
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
