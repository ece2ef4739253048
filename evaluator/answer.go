package evaluator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/network"
)

// answer fills in both models' answers, a batch at a time so that memory stays
// bounded. Broken images keep empty answers; their errors come back in order.
func (e *Evaluator) answer(ctx context.Context, cs []candidate, old, next *network.Classifier) (broken []error, err error) {
	for batch := range slices.Chunk(cs, e.o.withDefaults().Batch) {
		in, err := e.fetch(ctx, batch, old.Manifest().Preprocessing, next.Manifest().Preprocessing)
		if err != nil {
			return nil, err
		}
		champion, err := labelAll(old, in, func(i input) []float32 { return i.old })
		if err != nil {
			return nil, fmt.Errorf("champion: %w", err)
		}
		challenger, err := labelAll(next, in, func(i input) []float32 { return i.next })
		if err != nil {
			return nil, fmt.Errorf("challenger: %w", err)
		}
		for i := range batch {
			batch[i].Champion, batch[i].Challenger = champion[i], challenger[i]
			if in[i].fault != nil {
				broken = append(broken, in[i].fault)
			}
		}
	}
	return broken, nil
}

// input is one image as each model wants it, or why it cannot be had.
type input struct {
	old, next []float32
	fault     error
}

// fetch reads, decodes and prepares a batch's images, Workers at once: only so
// many are in memory at full size. An image that is gone or broken is a fault
// of its own; any other failure ends the comparison.
func (e *Evaluator) fetch(ctx context.Context, batch []candidate, old, next dataset.Preprocessing) ([]input, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in := make([]input, len(batch))
	todo := make(chan int)
	var wg sync.WaitGroup
	for range min(e.o.withDefaults().Workers, len(batch)) {
		wg.Go(func() {
			for i := range todo {
				in[i] = e.input(ctx, batch[i].key, old, next)
				if err := in[i].fault; err != nil && !errors.Is(err, dg.ErrInvalid) && !errors.Is(err, dg.ErrNotFound) {
					cancel(err)
				}
			}
		})
	}
	for i := 0; i < len(batch) && ctx.Err() == nil; i++ {
		select {
		case todo <- i:
		case <-ctx.Done():
		}
	}
	close(todo)
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return in, nil
}

func (e *Evaluator) input(ctx context.Context, key string, old, next dataset.Preprocessing) (in input) {
	body, _, err := e.images.Get(ctx, e.clean, key)
	if err != nil {
		return input{fault: fmt.Errorf("image %s/%s: %w", e.clean, key, err)}
	}
	img, _, err := dataset.Decode(body, e.o.withDefaults().Limits)
	if err != nil {
		return input{fault: fmt.Errorf("image %s/%s: %w", e.clean, key, err)}
	}
	in.old = old.Image(img)
	if in.next = in.old; !same(old, next) {
		in.next = next.Image(img)
	}
	return in
}

func same(a, b dataset.Preprocessing) bool {
	return a.Width == b.Width && a.Height == b.Height && a.Channels == b.Channels && a.Resize == b.Resize &&
		slices.Equal(a.Mean, b.Mean) && slices.Equal(a.Std, b.Std)
}

// labelAll classifies the images that are there; the others stay empty. A
// model whose answer is not a number has no answer.
func labelAll(c *network.Classifier, in []input, of func(input) []float32) ([]string, error) {
	var rows []float32
	var at []int
	for i := range in {
		if in[i].fault == nil {
			rows, at = append(rows, of(in[i])...), append(at, i)
		}
	}
	out := make([]string, len(in))
	if len(at) == 0 {
		return out, nil
	}
	p, err := c.Probabilities(rows)
	if err != nil {
		return nil, err
	}
	classes := c.Manifest().Classes
	n := len(classes)
	for j, i := range at {
		row := p[j*n : (j+1)*n]
		if slices.ContainsFunc(row, func(x float32) bool { return x != x }) {
			continue
		}
		out[i] = classes[network.Argmax(row)]
	}
	return out, nil
}
