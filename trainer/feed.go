package trainer

import (
	"encoding/binary"
	"math/rand/v2"

	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// feed fills batches: pixels, varied anew in each epoch where that is wished,
// normalised; for a head, turned into the features that the frozen layers make
// of them.
type feed struct {
	m       *material
	augment dataset.Augmentation
	seeds   []uint64 // of each sample; nil without augmentation
	state   *state   // counts the varied images

	frozen  *frozen
	pixels  []byte    // one varied image
	x       []float32 // a batch before the frozen layers
	stored  []float32 // the features of every sample, when they never change and are not too many
	rng     *rand.Rand
	varying *rand.PCG
}

// frozen are the layers that do not learn.
type frozen struct {
	spec    network.Spec
	weights network.Weights
}

// maxStored is how many bytes of features are kept rather than computed anew in
// each epoch.
const maxStored = 128 << 20

func newFeed(t *training) (*feed, error) {
	pcg := rand.NewPCG(0, 0)
	f := &feed{m: t.m, augment: t.m.account.Augmentation.Applied, state: t.state, varying: pcg, rng: rand.New(pcg)}
	if f.augment.Any() {
		f.pixels = make([]byte, t.m.train.size)
		for _, id := range t.m.train.ids {
			f.seeds = append(f.seeds, seedOf(t.job.Options.Seed, id))
		}
	}
	if t.job.Options.starts() != Head {
		return f, nil
	}
	f.frozen = &frozen{t.spec, t.m.parent.Weights}
	n, width := t.m.train.len(), t.spec.Features()
	if f.seeds != nil || 4*n*width > maxStored {
		return f, nil
	}
	stored := make([]float32, n*width)
	const chunk = 1024
	for at := 0; at < n; at += chunk {
		rows := make([]int, min(chunk, n-at))
		for i := range rows {
			rows[i] = at + i
		}
		if err := f.fill(rows, 0, at, stored[at*width:]); err != nil {
			return nil, err
		}
	}
	f.stored = stored
	return f, nil
}

// seedOf is a sample's own seed, so that what varies it is the same whatever
// else is trained on.
func seedOf(seed uint64, id string) uint64 {
	return uint64(share(seed, "augment", id)*(1<<53)) ^ binary.BigEndian.Uint64([]byte("augment."))
}

// fill writes a batch that begins at place at of the epoch's order into the
// rows of in. Nothing in it depends on what came before, so that a resumed
// training sees the same images.
func (f *feed) fill(batch []int, epoch, at int, in []float32) error {
	if f.stored != nil {
		width := f.frozen.spec.Features()
		for row, i := range batch {
			copy(in[row*width:][:width], f.stored[i*width:][:width])
		}
		return nil
	}
	to, size := in, f.m.train.size
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
				f.state.Varied++
			}
			px = f.pixels
		}
		f.m.pre.Pixels(px, to[row*size:][:size])
	}
	if f.frozen == nil {
		return nil
	}
	return network.Features(f.frozen.spec, f.frozen.weights, to, in[:len(batch)*f.frozen.spec.Features()])
}
