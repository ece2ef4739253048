package trainer

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"

	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// feed prepares batches: pixels, varied anew in each epoch where that is
// wished, normalised; for a head, turned into the features that the frozen
// layers make of them. It prepares the next batch while the network learns from
// the one before.
type feed struct {
	m       *material
	levels  dataset.Levels
	augment dataset.Augmentation
	seeds   []uint64 // of each sample; nil without augmentation

	frozen  *frozen
	pixels  []byte    // one varied image
	x       []float32 // a batch before the frozen layers
	stored  []float32 // the features of every sample, when they never change and are not too many
	rng     *rand.Rand
	varying *rand.PCG

	buffers [2]*minibatch
}

// minibatch is what one step learns from.
type minibatch struct {
	inputs  []float32
	labels  []int
	weights []float32
	varied  int // images that augmentation changed
	err     error
}

// frozen are the layers that do not learn.
type frozen struct {
	*network.Forward
	width int // features a sample
}

// maxStored is how many bytes of features are kept rather than computed anew in
// each epoch.
const maxStored = 128 << 20

func newFeed(t *training) (*feed, error) {
	pcg, batch := rand.NewPCG(0, 0), t.batch
	f := &feed{m: t.m, levels: t.m.pre.Levels(), augment: t.m.account.Augmentation.Applied, varying: pcg, rng: rand.New(pcg)}
	if f.augment.Any() {
		f.pixels = make([]byte, t.m.pre.Size())
		for _, id := range t.m.train.ids {
			f.seeds = append(f.seeds, seedOf(t.job.Options.Seed, id))
		}
	}
	for i := range f.buffers {
		f.buffers[i] = &minibatch{inputs: make([]float32, batch*t.learns().Inputs()), labels: make([]int, 0, batch), weights: make([]float32, 0, batch)}
	}
	if t.job.Options.starts() != Head {
		return f, nil
	}
	body, err := network.NewForward(t.spec, t.m.parent.Weights, nil)
	if err != nil {
		return nil, err
	}
	f.frozen = &frozen{body, t.spec.Features()}
	return f, f.store()
}

// store keeps the features of every sample, when they never change and are not
// too many.
func (f *feed) store() error {
	n, width := f.m.train.len(), f.frozen.width
	if f.seeds != nil || 4*n*width > maxStored {
		return nil
	}
	stored := make([]float32, n*width)
	part := max(16, judgedBytes/f.m.pre.Size())
	for at := 0; at < n; at += part {
		rows := make([]int, min(part, n-at))
		for i := range rows {
			rows[i] = at + i
		}
		if _, err := f.fill(rows, 0, at, stored[at*width:]); err != nil {
			return err
		}
	}
	f.stored, f.x = stored, nil
	return nil
}

// seedOf is a sample's own seed, so that what varies it is the same whatever
// else is trained on.
func seedOf(seed uint64, id string) uint64 {
	return uint64(share(seed, "augment", id)*(1<<53)) ^ binary.BigEndian.Uint64([]byte("augment."))
}

// epoch calls step with each batch of an epoch's order in turn, while the next
// is prepared in the background, and ends with the first error. A batch is
// step's until it returns. What is in it follows from epoch and place alone:
// when it is prepared changes nothing.
func (f *feed) epoch(order []int, size, epoch int, step func(b *minibatch, n, of int) error) error {
	steps := (len(order) + size - 1) / size
	free, ready, done := make(chan *minibatch, len(f.buffers)), make(chan *minibatch), make(chan struct{})
	for _, b := range f.buffers {
		free <- b
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(done)
	wg.Go(func() {
		for n := range steps {
			var b *minibatch
			select {
			case b = <-free:
			case <-done:
				return
			}
			f.prepare(b, order[n*size:min(len(order), (n+1)*size)], epoch, n*size)
			select {
			case ready <- b:
			case <-done:
				return
			}
		}
	})
	for n := range steps {
		b := <-ready
		if b.err != nil {
			return b.err
		}
		if err := step(b, n, steps); err != nil {
			return err
		}
		free <- b
	}
	return nil
}

// prepare makes the batch of the given samples, which begins at place at of the
// epoch's order.
func (f *feed) prepare(b *minibatch, rows []int, epoch, at int) {
	b.labels, b.weights = b.labels[:0], b.weights[:0]
	for _, i := range rows {
		b.labels = append(b.labels, f.m.train.labels[i])
		b.weights = append(b.weights, f.m.train.weights[i])
	}
	b.varied, b.err = f.fill(rows, epoch, at, b.inputs)
}

// fill writes the inputs of a batch that begins at place at of the epoch's
// order into the rows of in, and returns how many images were varied. Nothing
// in it depends on what came before, so that a resumed training sees the same
// images.
func (f *feed) fill(batch []int, epoch, at int, in []float32) (varied int, err error) {
	if f.stored != nil {
		width := f.frozen.width
		for row, i := range batch {
			copy(in[row*width:][:width], f.stored[i*width:][:width])
		}
		return 0, nil
	}
	to, size := in, f.m.pre.Size()
	if f.frozen != nil {
		if need := len(batch) * size; len(f.x) < need {
			f.x = make([]float32, need)
		}
		to = f.x[:len(batch)*size]
	}
	for row, i := range batch {
		px := f.m.train.image(i)
		if f.seeds != nil {
			f.varying.Seed(f.seeds[i], uint64(epoch)<<32|uint64(at+row))
			if p := f.m.pre; f.augment.Apply(f.pixels, px, p.Height, p.Width, p.Channels, f.rng) {
				varied++
			}
			px = f.pixels
		}
		f.levels.Pixels(px, to[row*size:][:size])
	}
	if f.frozen == nil {
		return varied, nil
	}
	return varied, f.frozen.Features(to, in[:len(batch)*f.frozen.width])
}
