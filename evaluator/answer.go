package evaluator

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
)

// answer looks at the samples at todo and has every version that lacks an
// answer classify them: Workers at once, each with a batch, so that memory
// stays bounded. It returns those that could be read. An image that is gone or
// broken is a fault of its own, which the sheet remembers; any other failure
// ends it.
func (e *Evaluator) answer(ctx context.Context, sh *sheet, vs []*version, see see, todo []int) (read []int, err error) {
	classifiers := make([]*network.Classifier, len(vs))
	for i, v := range vs {
		if classifiers[i], err = v.answering(); err != nil {
			return nil, err
		}
	}
	o := e.o.withDefaults()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	faults := make([]error, len(sh.samples))
	batches := make(chan []int)
	var wg sync.WaitGroup
	for range min(o.Workers, (len(todo)+o.Batch-1)/o.Batch) {
		wg.Go(func() {
			for batch := range batches {
				if err := sh.batch(ctx, classifiers, see, batch, faults); err != nil {
					cancel(err)
				}
			}
		})
	}
	for batch := range slices.Chunk(todo, o.Batch) {
		select {
		case batches <- batch:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(batches)
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	for _, i := range todo {
		if err := faults[i]; err == nil {
			read = append(read, i)
		} else if len(sh.faults) < maxFaults {
			sh.faults = append(sh.faults, err)
		}
	}
	return read, nil
}

// batch sees and answers a few samples. It writes to their own places only.
func (sh *sheet) batch(ctx context.Context, cs []*network.Classifier, see see, batch []int, faults []error) error {
	ways := preparations(cs)
	inputs := make([][]byte, len(ways)) // the pixels of each image that was read
	var read []int
	for _, i := range batch {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		img, err := see(ctx, sh.samples[i])
		if permanent(err) {
			faults[i] = err
			continue
		} else if err != nil {
			return err
		}
		b := img.Bounds()
		sh.images[i] = ledger.SuiteImage{ID: sh.samples[i].id, Brightness: dataset.Brightness(img), Width: b.Dx(), Height: b.Dy()}
		for w, p := range ways {
			inputs[w] = append(inputs[w], p.Raster(img)...)
		}
		read = append(read, i)
	}
	for v, c := range cs {
		w := slices.IndexFunc(ways, func(p dataset.Preprocessing) bool { return same(p, c.Manifest().Preprocessing) })
		if err := classify(c, inputs[w], read, sh.answers[v]); err != nil {
			return fmt.Errorf("version %d of %d: %w", v+1, len(cs), err)
		}
	}
	return nil
}

// classify answers images and writes each answer where it belongs.
func classify(c *network.Classifier, pixels []byte, at []int, answers []answer) error {
	if len(at) == 0 {
		return nil
	}
	p, err := c.PixelBatch(pixels)
	if err != nil {
		return err
	}
	n := len(c.Manifest().Classes)
	for j, i := range at {
		row := p[j*n : (j+1)*n]
		best := network.Argmax(row)
		answers[i] = answer{int32(best), min(1, row[best])} // float32 may end a hair above 1
	}
	return nil
}

// preparations are the different ways in which versions want an image.
func preparations(cs []*network.Classifier) (out []dataset.Preprocessing) {
	for _, c := range cs {
		if want := c.Manifest().Preprocessing; !slices.ContainsFunc(out, func(p dataset.Preprocessing) bool { return same(p, want) }) {
			out = append(out, want)
		}
	}
	return out
}

func same(a, b dataset.Preprocessing) bool {
	return a.Width == b.Width && a.Height == b.Height && a.Channels == b.Channels && a.Resize == b.Resize &&
		slices.Equal(a.Mean, b.Mean) && slices.Equal(a.Std, b.Std)
}
