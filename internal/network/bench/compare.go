//go:build bench

package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"time"
)

// result is what a case came to.
type result struct {
	measured
	golang, torch []float64 // samples/s, by round
	quoted        variant   // of PyTorch
}

// agreement is how far the sides are apart with the same weights and batches.
type agreement struct {
	model
	steps       int
	first, last float64 // loss, of the first and the last step
	logits      float64 // largest relative difference of the logits before training, 2-norm
	losses      float64 // largest relative difference of a step's loss
	among       float64 // the same between two ways to run PyTorch
}

// footprint is what training took at most, bytes.
type footprint struct {
	model
	golang, torch         int // whole process
	golangOver, torchOver int // beyond what the process had before it built the network
}

// report is everything that a run found.
type report struct {
	settings
	versions   []string
	peaks      map[int]float64 // by threads, GFLOP/s
	agreements []agreement
	footprints []footprint
	results    []result
}

func compare(ctx context.Context, s settings) error {
	dir, err := os.MkdirTemp("", "driftgate-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // in the temporary folder: no harm if it stays
	c, err := newCrew(ctx, s, dir)
	if err != nil {
		return err
	}
	defer c.stop()
	r := report{settings: s, peaks: map[int]float64{}}
	var models []model
	for _, name := range s.models {
		m, err := modelOf(name)
		if err != nil {
			return err
		}
		models = append(models, m)
		a, err := c.agree(m, dir)
		if err != nil {
			return err
		}
		fmt.Println(a)
		r.agreements = append(r.agreements, a)
	}
	for _, m := range models {
		if !s.memory {
			break
		}
		f, err := c.footprint(m, s, dir)
		if err != nil {
			return err
		}
		fmt.Println(f)
		r.footprints = append(r.footprints, f)
	}
	for _, n := range s.threads {
		if err := c.peak(n, &r); err != nil {
			return err
		}
	}
	fmt.Println(header)
	for _, m := range models {
		for _, mode := range s.modes {
			for _, threads := range s.threads {
				for _, batch := range s.batches {
					got, err := c.measure(measured{m, mode, batch, threads}, s, dir)
					if err != nil {
						return err
					}
					fmt.Println(r.row(got))
					r.results = append(r.results, got)
				}
			}
		}
	}
	for _, n := range s.threads { // once more, at the end: it may have been busy
		if err := c.peak(n, &r); err != nil {
			return err
		}
	}
	r.summary(os.Stdout)
	if s.write == "" {
		return nil
	}
	return r.document(s.write)
}

func (c *crew) peak(threads int, r *report) error {
	p, err := c.golang(threads)
	if err != nil {
		return err
	}
	got, err := p.ask(request{Op: "peak"})
	if r.cpu {
		got.GFLOPS = got.CPU
	}
	r.peaks[threads] = max(r.peaks[threads], got.GFLOPS)
	if len(r.versions) == 0 {
		t, err := c.torch(variant{blas: c.blas[0]}, threads)
		if err != nil {
			return err
		}
		r.versions = []string{p.hello.Version, "PyTorch " + t.hello.Version}
	}
	return err
}

// agree infers and trains on both sides and compares. It fails when they
// compute different things. Rounding grows with depth and with every step: deep
// networks with batch norm are known for it at the start of their training, and
// PyTorch's two memory formats part as far: that is the measure. Small steps
// keep it low.
func (c *crew) agree(m model, dir string) (agreement, error) {
	const steps = 20
	a := agreement{model: m, steps: steps}
	run := measured{m, train, 32, 1}
	q, err := run.load(dir, inTurn)
	if err != nil {
		return a, err
	}
	q.LearningRate, q.WeightDecay = 1e-4, 0.1 // so strong a decay that it shows
	ours, err := c.golang(1)
	if err != nil {
		return a, err
	}
	want, err := c.after(ours, q, steps)
	if err != nil {
		return a, err
	}
	var others []reply
	for _, v := range run.variants(c.blas) {
		theirs, err := c.torch(v, 1)
		if err != nil {
			return a, err
		}
		q.ChannelsLast = v.last
		got, err := c.after(theirs, q, steps)
		if err != nil {
			return a, err
		}
		others = append(others, got)
		a.logits = max(a.logits, apart(got.Logits, want.Logits))
		a.losses = max(a.losses, farthest(got.Losses, want.Losses))
		a.among = max(a.among, farthest(got.Losses, others[0].Losses))
	}
	a.first, a.last = want.Losses[0], want.Losses[steps-1]
	const logits = 1e-5
	losses := max(1e-5, 4*a.among)
	if !(a.logits <= logits && a.losses <= losses) {
		return a, fmt.Errorf("%v: the two sides compute different things: want differences of at most %.1e and %.1e", a, logits, losses)
	}
	return a, nil
}

// farthest is the largest relative difference of two numbers at one place.
func farthest(a, b []float64) float64 {
	var most float64
	for i, v := range a {
		most = max(most, math.Abs(v-b[i])/math.Abs(v))
	}
	return most
}

// apart is the length of a-b relative to that of a.
func apart(a, b []float32) float64 {
	var off, norm float64
	for i, v := range a {
		off += math.Pow(float64(v-b[i]), 2)
		norm += math.Pow(float64(v), 2)
	}
	return math.Sqrt(off / norm)
}

func (c *crew) after(p *peer, q request, steps int) (reply, error) {
	if _, err := p.ask(q); err != nil {
		return reply{}, err
	}
	return p.ask(request{Op: "losses", Steps: steps})
}

// footprint trains a while in new processes, so that nothing earlier counts.
func (c *crew) footprint(m model, s settings, dir string) (footprint, error) {
	f := footprint{model: m}
	run := measured{m, train, 128, slices.Max(s.threads)}
	q, err := run.load(dir, 1)
	if err != nil {
		return f, err
	}
	c.stop()
	defer c.stop()
	measure := func(p *peer, err error) (whole, over int, _ error) {
		if err != nil {
			return 0, 0, err
		}
		before := p.hello.Memory
		if _, err := p.ask(q); err != nil {
			return 0, 0, err
		}
		if _, err := p.ask(request{Op: "run", Seconds: 2}); err != nil {
			return 0, 0, err
		}
		got, err := p.ask(request{Op: "memory"})
		return got.Memory, got.Memory - before, err
	}
	if f.golang, f.golangOver, err = measure(c.golang(run.threads)); err != nil {
		return f, err
	}
	f.torch, f.torchOver, err = measure(c.torch(run.variants(c.blas)[0], run.threads))
	return f, err
}

// side is one of those that take turns.
type side struct {
	peer   *peer
	way    variant
	speeds []float64
}

// measure runs one case: a short trial chooses the two fastest ways to run
// PyTorch, then all take turns, a different one first in each round.
func (c *crew) measure(m measured, s settings, dir string) (result, error) {
	r := result{measured: m}
	q, err := m.load(dir, inTurn)
	if err != nil {
		return r, err
	}
	var theirs []*side
	for _, v := range m.variants(c.blas) {
		p, err := c.torch(v, m.threads)
		if err != nil {
			return r, err
		}
		theirs = append(theirs, &side{peer: p, way: v})
	}
	if err := turns(2, min(0.3, s.seconds), s.cpu, q, theirs...); err != nil {
		return r, err
	}
	slices.SortStableFunc(theirs, func(a, b *side) int { return cmp.Compare(slices.Max(b.speeds), slices.Max(a.speeds)) })
	theirs = theirs[:min(2, len(theirs))]
	p, err := c.golang(m.threads)
	if err != nil {
		return r, err
	}
	ours := &side{peer: p}
	if err := turns(s.rounds, s.seconds, s.cpu, q, append(theirs, ours)...); err != nil {
		return r, err
	}
	quoted := slices.MaxFunc(theirs, func(a, b *side) int { return cmp.Compare(median(a.speeds), median(b.speeds)) })
	r.golang, r.torch, r.quoted = ours.speeds, quoted.speeds, quoted.way
	return r, nil
}

// turns loads the case into all sides, lets each warm up, and then measures
// them one after the other, so many rounds.
func turns(rounds int, seconds float64, cpu bool, q request, sides ...*side) error {
	for _, x := range sides {
		q.ChannelsLast, x.speeds = x.way.last, nil
		if _, err := x.peer.ask(q); err != nil {
			return err
		}
		if _, err := x.peer.ask(request{Op: "run", Seconds: 0.1}); err != nil {
			return err
		}
	}
	for round := range rounds {
		for i := range sides {
			x := sides[(round+i)%len(sides)]
			time.Sleep(20 * time.Millisecond) // the others' threads fall asleep
			got, err := x.peer.ask(request{Op: "run", Seconds: seconds})
			if err != nil {
				return err
			}
			if cpu {
				got.Seconds = got.CPU
			}
			x.speeds = append(x.speeds, float64(got.Samples)/got.Seconds)
		}
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
