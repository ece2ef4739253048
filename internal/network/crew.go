package network

import (
	"runtime"
	"sync/atomic"
)

// crew answers one sample with several threads: each layer is divided into
// chunks, which the caller takes from the front and helpers from the back, so
// that a thread tends to meet the weights that are in its cache. The caller waits
// for no helper but one that is at work on a chunk: where no processor is free,
// the caller does it all.
type crew struct {
	plan   *plan
	helper func() // help, made once: a go statement of it allocates nothing
	jobs   []job
	ticket atomic.Uint64 // which chunks of which job are to be had: see the function
	done   atomic.Int32  // chunks of the job that are done
	called atomic.Int32  // helpers that have not left
}

// job is a layer with its input and output.
type job struct {
	op      op
	in, out []float32
	parts   int
	chunks  int
}

// chunk gives the parts of a chunk.
func (j *job) chunk(i int) (from, to int) {
	return i * j.parts / j.chunks, (i + 1) * j.parts / j.chunks
}

// A ticket is the number of a job and the chunks from low to before high of it
// that nobody has taken. What a helper knows of a job it reads after it took a
// chunk with an unchanged ticket, so that it can't mix up two.
func ticket(job, low, high int) uint64 { return uint64(job)<<32 | uint64(low)<<16 | uint64(high) }

func parse(t uint64) (job, low, high int) {
	return int(t >> 32), int(t >> 16 & 0xffff), int(t & 0xffff)
}

// nothing to be had any more: helpers leave.
const closed = 1 << 63

const (
	chunkWork = 1 << 14 // multiplications worth handing to another thread
	patience  = 1 << 14 // looks at the ticket before a helper leaves
)

// share is task for a single sample by several threads, the caller's among them.
func (p *plan) share(in samples, logits, features []float32, threads int) {
	c := p.crews.Get().(*crew)
	defer p.crews.Put(c)
	buffer := p.spaces.Get().(*[]float32)
	defer p.spaces.Put(buffer)
	space := *buffer
	c.jobs = c.jobs[:0]
	x := in.rows(0, 1, p.inputs, space)
	seen := features
	if seen == nil {
		seen = space[p.features:][:p.width]
	}
	if len(p.segments) == 0 {
		copy(seen, x)
	}
	for i := range p.segments {
		s := &p.segments[i]
		for k, o := range s.ops {
			_, values, _ := o.sizes()
			y := p.between(k, values, space)
			switch {
			case k < len(s.ops)-1:
			case i == len(p.segments)-1:
				y = seen
			default:
				y = p.feed(i+1, &in, 0, 1, space)
			}
			c.add(o, x, y, threads)
			x = y
		}
	}
	if logits != nil {
		c.add(p.head, seen, logits, threads)
	}
	c.work(space[p.scratch:], threads)
	clear(c.jobs) // a pool must not hold a caller's slices
}

func (c *crew) add(o op, in, out []float32, threads int) {
	parts := o.parts(1)
	c.jobs = append(c.jobs, job{o, in, out, parts, max(1, min(parts, 4*threads, o.work()/chunkWork))})
}

// work does all jobs, with helpers.
func (c *crew) work(scratch []float32, threads int) {
	defer c.ticket.Store(closed)
	for i := range c.jobs {
		j := &c.jobs[i]
		c.done.Store(0)
		c.ticket.Store(ticket(i, 0, j.chunks))
		if j.chunks > 1 { // helpers leave while a long layer is not divided
			c.call(threads - 1)
		}
		taken := 0
		for {
			t := c.ticket.Load()
			_, low, high := parse(t)
			if low == high {
				break
			}
			if c.ticket.CompareAndSwap(t, ticket(i, low+1, high)) {
				from, to := j.chunk(low)
				j.op.run(j.out, j.in, 1, from, to, scratch)
				taken++
			}
		}
		for spins := 0; taken+int(c.done.Load()) < j.chunks; spins++ {
			if spins > 1000 {
				runtime.Gosched()
			}
		}
	}
}

// call starts helpers. Those that were called for an earlier sample and found no
// processor until now will do.
func (c *crew) call(helpers int) {
	for c.called.Load() < int32(helpers) {
		c.called.Add(1)
		go c.helper()
	}
}

// help takes chunks until there has been nothing to do for a while.
func (c *crew) help() {
	defer c.called.Add(-1)
	var space *[]float32
	for idle := 0; idle < patience; idle++ {
		t := c.ticket.Load()
		if t == closed {
			break
		}
		i, low, high := parse(t)
		if low == high || !c.ticket.CompareAndSwap(t, ticket(i, low, high-1)) {
			continue
		}
		if space == nil {
			space = c.plan.spaces.Get().(*[]float32)
		}
		j := &c.jobs[i]
		from, to := j.chunk(high - 1)
		j.op.run(j.out, j.in, 1, from, to, (*space)[c.plan.scratch:])
		c.done.Add(1)
		idle = 0
	}
	if space != nil {
		c.plan.spaces.Put(space)
	}
}
