package dataset

import (
	"math"
	"math/rand/v2"
)

// A learner is a tiny softmax classifier, with one hidden layer or none: the
// measuring stick for how hard a set is.
type learner struct {
	in, hidden, out int
	w1, b1, w2, b2  []float32
	v               [][]float32 // momentum
}

func newLearner(in, hidden, out int) *learner {
	rng := rand.New(rand.NewPCG(7, 7))
	l := &learner{in: in, hidden: hidden, out: out}
	last := in
	if hidden > 0 {
		l.w1, l.b1 = make([]float32, hidden*in), make([]float32, hidden)
		for i := range l.w1 {
			l.w1[i] = float32(rng.NormFloat64() * math.Sqrt(2/float64(in)))
		}
		last = hidden
	}
	l.w2, l.b2 = make([]float32, out*last), make([]float32, out)
	for i := range l.w2 {
		l.w2[i] = float32(rng.NormFloat64() * math.Sqrt(1/float64(last)))
	}
	for _, p := range l.params() {
		l.v = append(l.v, make([]float32, len(p)))
	}
	return l
}

func (l *learner) params() [][]float32 { return [][]float32{l.w1, l.b1, l.w2, l.b2} }

// affine computes y = w*x + b; the number of inputs is a multiple of 8.
func affine(w, b, x, y []float32) {
	for o := range y {
		row := w[o*len(x) : (o+1)*len(x)]
		var s0, s1, s2, s3 float32
		for i := 0; i < len(x); i += 8 {
			r, v := (*[8]float32)(row[i:]), (*[8]float32)(x[i:])
			s0 += r[0]*v[0] + r[4]*v[4]
			s1 += r[1]*v[1] + r[5]*v[5]
			s2 += r[2]*v[2] + r[6]*v[6]
			s3 += r[3]*v[3] + r[7]*v[7]
		}
		y[o] = b[o] + s0 + s1 + s2 + s3
	}
}

// forward returns the last layer's input and the class probabilities.
func (l *learner) forward(x []float32, h, p []float32) []float32 {
	if l.hidden > 0 {
		affine(l.w1, l.b1, x, h)
		for i, v := range h {
			h[i] = max(v, 0)
		}
		x = h
	}
	affine(l.w2, l.b2, x, p)
	top := p[0]
	for _, v := range p {
		top = max(top, v)
	}
	sum := float32(0)
	for i, v := range p {
		p[i] = float32(math.Exp(float64(v - top)))
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return x
}

// examples are garments as inputs, with their labels.
type examples struct {
	x []float32 // Side x Side values each
	y []uint16
}

// firstOf takes the first n garments of a split.
func firstOf(sp Split, n int) examples {
	e := examples{x: make([]float32, n*Side*Side), y: sp.Labels[:n]}
	GarmentPreprocessing().Pixels(sp.Pixels[:len(e.x)], e.x)
	return e
}

func (s examples) plus(t examples) examples {
	return examples{append(s.x[:len(s.x):len(s.x)], t.x...), append(s.y[:len(s.y):len(s.y)], t.y...)}
}

func (l *learner) train(s examples, epochs int, rate float32) {
	const batch, momentum, decay = 32, 0.9, 1e-4
	rng := rand.New(rand.NewPCG(9, 9))
	g := make([][]float32, 4)
	for i, p := range l.params() {
		g[i] = make([]float32, len(p))
	}
	h, p, dh := make([]float32, l.hidden), make([]float32, l.out), make([]float32, l.hidden)
	steps := epochs * ((len(s.y) + batch - 1) / batch)
	step := 0
	for range epochs {
		order := rng.Perm(len(s.y))
		for at := 0; at < len(order); at += batch {
			part := order[at:min(at+batch, len(order))]
			for i := range g {
				clear(g[i])
			}
			for _, i := range part {
				x := s.x[i*l.in : (i+1)*l.in]
				last := l.forward(x, h, p)
				p[s.y[i]]--
				outer(p, last, g[2], g[3])
				if l.hidden == 0 {
					continue
				}
				clear(dh)
				for o, d := range p {
					row := l.w2[o*l.hidden : (o+1)*l.hidden]
					for k := range dh {
						dh[k] += d * row[k]
					}
				}
				for k, v := range h {
					if v == 0 {
						dh[k] = 0
					}
				}
				outer(dh, x, g[0], g[1])
			}
			lr := rate * float32(0.5+0.5*math.Cos(math.Pi*float64(step)/float64(steps))) / float32(len(part))
			for i, par := range l.params() {
				v, gi := l.v[i], g[i]
				for k := range par {
					v[k] = momentum*v[k] - lr*gi[k]
					par[k] += v[k] - rate*decay*par[k]
				}
			}
			step++
		}
	}
}

// outer adds the gradients of one example: gw += d x^T, gb += d.
func outer(d, x, gw, gb []float32) {
	for o, v := range d {
		if v == 0 {
			continue
		}
		row := gw[o*len(x) : (o+1)*len(x)]
		for i := 0; i < len(x); i += 8 {
			r, u := (*[8]float32)(row[i:]), (*[8]float32)(x[i:])
			r[0] += v * u[0]
			r[1] += v * u[1]
			r[2] += v * u[2]
			r[3] += v * u[3]
			r[4] += v * u[4]
			r[5] += v * u[5]
			r[6] += v * u[6]
			r[7] += v * u[7]
		}
		gb[o] += v
	}
}

func (l *learner) accuracy(s examples) float64 {
	h, p := make([]float32, l.hidden), make([]float32, l.out)
	right := 0
	for i, y := range s.y {
		l.forward(s.x[i*l.in:(i+1)*l.in], h, p)
		best := 0
		for c, v := range p {
			if v > p[best] {
				best = c
			}
		}
		if best == int(y) {
			right++
		}
	}
	return float64(right) / float64(len(s.y))
}
