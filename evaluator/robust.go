package evaluator

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"image"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
)

// turnedSamples bounds the images that every knob is tried on.
const turnedSamples = 1000

// curves turns every knob on the images of a suite and returns a list of curves
// a version. The suite is cut to at most turnedSamples first.
func (e *Evaluator) curves(ctx context.Context, s suite, vs []*version) ([][]Curve, error) {
	s.samples = slices.Clone(s.samples)
	s.draw(turnedSamples)
	s.open = once(s.open)
	out := make([][]Curve, len(vs))
	for _, k := range dataset.Knobs {
		for v := range vs {
			out[v] = append(out[v], Curve{Knob: k.Name, Unit: k.Unit})
		}
		for _, strength := range k.Strengths {
			sh, err := e.fill(ctx, s.turned(k.Name, strength), vs)
			if err != nil {
				return nil, fmt.Errorf("%s %g: %w", k.Name, strength, err)
			}
			for v := range vs {
				accuracy, _ := sh.ratio(everything, func(i int) bool { return sh.right(v, i) }, alpha)
				c := &out[v][len(out[v])-1]
				c.Points = append(c.Points, Point{strength, accuracy})
			}
		}
	}
	return out, nil
}

// once opens at the first call only; it is for one goroutine.
func once(open func(context.Context) (see, error)) func(context.Context) (see, error) {
	var kept see
	return func(ctx context.Context) (_ see, err error) {
		if kept == nil {
			kept, err = open(ctx)
		}
		return kept, err
	}
}

// turned is the suite under drift. Without drift it is itself, so that its
// predictions are not kept twice.
func (s suite) turned(knob string, strength float64) suite {
	if strength == 0 {
		return s
	}
	open := s.open
	s.drifted = true
	s.key += "/" + knob + "=" + strconv.FormatFloat(strength, 'g', -1, 64)
	s.open = func(ctx context.Context) (see, error) {
		plain, err := open(ctx)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, x sample) (image.Image, error) {
			img, err := plain(ctx, x)
			if err != nil {
				return nil, err
			}
			return turn(img, knob, strength, x.id)
		}, nil
	}
	return s
}

// turn applies a knob to an image; the noise of an image is always the same.
func turn(img image.Image, knob string, strength float64, id string) (image.Image, error) {
	b := img.Bounds()
	p := dataset.Preprocessing{Width: b.Dx(), Height: b.Dy(), Channels: 3, Resize: dataset.ResizeStretch}
	if _, grey := img.(*image.Gray); grey {
		p.Channels = 1
	}
	seed := fnv.New64a()
	fmt.Fprint(seed, id)
	px, err := dataset.Turn(knob, strength, p.Raster(img), p.Height, p.Width, p.Channels, seed.Sum64())
	if err != nil {
		return nil, err
	}
	return dataset.FromPixels(px, p.Height, p.Width, p.Channels)
}

// speeds remembers what was measured: a version takes as long tomorrow.
type speeds struct {
	mu    sync.Mutex // one measurement at a time, or they would slow each other down
	known map[dg.ModelRef]Speed
}

const (
	warmUps    = 20
	timedRuns  = 200
	timeLimit  = time.Second // of one measurement
	timedBatch = 64
	keptSpeeds = 256
)

// speed measures how long a version takes on its own self-test.
func (e *Evaluator) speed(ctx context.Context, v *version) (Speed, error) {
	e.speeds.mu.Lock()
	defer e.speeds.mu.Unlock()
	if s, ok := e.speeds.known[v.ref]; ok {
		return s, nil
	}
	c, err := v.answering()
	if err != nil {
		return Speed{}, err
	}
	tests := v.Manifest.SelfTest
	if len(tests) == 0 {
		return Speed{}, errors.New("no self-test to measure by")
	}
	if err := ctx.Err(); err != nil {
		return Speed{}, err
	}
	var took []float64
	began := time.Now()
	for i := range warmUps + timedRuns {
		start := time.Now()
		if _, err := c.Pixels(tests[i%len(tests)].Pixels); err != nil {
			return Speed{}, err
		}
		if i >= warmUps {
			took = append(took, time.Since(start).Seconds())
		}
		if len(took) > 0 && time.Since(began) > timeLimit {
			break
		}
	}
	var batch []byte
	for i := range timedBatch {
		batch = append(batch, tests[i%len(tests)].Pixels...)
	}
	var start time.Time
	for range 2 { // the first warms up
		start = time.Now()
		if _, err := c.PixelBatch(batch); err != nil {
			return Speed{}, err
		}
	}
	batched := time.Since(start).Seconds() / timedBatch
	slices.Sort(took)
	s := Speed{P50: took[len(took)/2], P95: took[len(took)*95/100], Runs: len(took), Batched: batched,
		CPU: fmt.Sprintf("%s, %d cores", runtime.GOARCH, runtime.NumCPU())}
	if e.speeds.known == nil || len(e.speeds.known) >= keptSpeeds {
		e.speeds.known = map[dg.ModelRef]Speed{}
	}
	e.speeds.known[v.ref] = s
	return s, nil
}
