package main

// optimisers writes the kernels of a learning step.
func optimisers(v vector) {
	sgd(v)
	adam(v)
	sumSquares(v)
}

func sgd(v vector) {
	v.begin("sgd", "func(w, v, g0 *float32, n int, rate, momentum, decay, scale float32)", "is SGD of n values.")
	w, m, g, n := v.arg("w"), v.arg("v"), v.arg("g0"), v.arg("n")
	rate, momentum, decay, scale := v.spread("rate"), v.spread("momentum"), v.spread("decay"), v.spread("scale")
	v.sweep(n, 2, narrow(w, m, g), func(lanes []lane) {
		for _, l := range lanes {
			x, u := l.load(l.of(w)), l.load(l.of(m))
			v.VMULPS(momentum, u, u)
			v.VFMADD231PS(l.operand(l.of(g)), scale, u)
			v.VFMADD231PS(x, decay, u)
			l.store(u, l.of(m))
			v.VFNMADD231PS(u, rate, x)
			l.store(x, l.of(w))
		}
	})
	v.end()
}

func adam(v vector) {
	v.begin("adam", "func(w, m, s, g0 *float32, n int, keep, rise1, rise2, epsilon, scale, step, correct float32)",
		"is Adam of n values: keep is 1 - rate*decay, rise 1 - beta.")
	w, m, s, g, n := v.arg("w"), v.arg("m"), v.arg("s"), v.arg("g0"), v.arg("n")
	keep, rise1, rise2, epsilon := v.spread("keep"), v.spread("rise1"), v.spread("rise2"), v.spread("epsilon")
	scale, step, correct := v.spread("scale"), v.spread("step"), v.spread("correct")
	v.sweep(n, 1, narrow(w, m, s, g), func(lanes []lane) {
		l := lanes[0]
		h, first, second, x, t := l.load(l.of(g)), l.load(l.of(m)), l.load(l.of(s)), l.load(l.of(w)), v.vec()
		v.VMULPS(scale, h, h)
		v.VSUBPS(first, h, t)
		v.VFMADD231PS(t, rise1, first)
		l.store(first, l.of(m))
		v.VFMSUB213PS(second, h, h)
		v.VFMADD231PS(h, rise2, second)
		l.store(second, l.of(s))
		v.VSQRTPS(second, t)
		v.VFMADD213PS(epsilon, correct, t)
		v.VMULPS(step, first, first)
		v.VDIVPS(t, first, first)
		v.VFMSUB213PS(first, keep, x)
		l.store(x, l.of(w))
	})
	v.end()
}

func sumSquares(v vector) {
	v.begin("sumSquares", "func(x *float32, n int) (sum float64)", "is the sum of the squares of n values, in float64.")
	x, n := v.arg("x"), v.arg("n")
	// Each value is widened before it is squared: no gradient is too large.
	low, high := v.zero(), v.zero()
	low2, high2 := v.zero(), v.zero()
	v.sweep(n, 2, narrow(x), func(lanes []lane) {
		for i, l := range lanes {
			lo, hi := low, high
			if i == 1 {
				lo, hi = low2, high2
			}
			a, b := v.vec(), v.vec()
			if l.mask == nil {
				v.VCVTPS2PD(l.of(x), a)
				v.VCVTPS2PD(l.of(x).Offset(2*v.width), b)
			} else {
				l.halves(l.load(l.of(x)), a, b)
			}
			v.VFMADD231PD(a, a, lo)
			v.VFMADD231PD(b, b, hi)
		}
	})
	v.VADDPD(low2, low, low)
	v.VADDPD(high2, high, high)
	v.Store(v.total(low, high).AsX(), v.ReturnIndex(0))
	v.end()
}
