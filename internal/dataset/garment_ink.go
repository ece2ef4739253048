package dataset

import "math"

// chooseInk draws a fabric: a brightness and a texture.
func (p *pen) chooseInk() ink {
	base := p.between(0.45, 0.95)
	if p.chance(0.12) {
		base = p.between(0.25, 0.4)
	}
	if p.novel {
		return p.novelInk(base)
	}
	contrast := p.between(0.2, 0.5)
	freq, phase := p.between(5, 11), p.between(0, 6)
	switch texture := p.rng.Float64(); {
	case texture < 0.6: // plain
		return func(float64, float64) float64 { return base }
	case texture < 0.69: // stripes across
		return func(_, y float64) float64 { return base * (1 - contrast*wave(freq*y+phase)) }
	case texture < 0.74: // stripes along
		return func(x, _ float64) float64 { return base * (1 - contrast*wave(freq*x+phase)) }
	case texture < 0.80: // checks
		return func(x, y float64) float64 {
			return base * (1 - contrast*0.5*(wave(freq*x+phase)+wave(freq*y)))
		}
	case texture < 0.88: // shading from top to bottom
		slope := p.between(-0.55, 0.55)
		return func(_, y float64) float64 { return base * (1 + slope*y) }
	case texture < 0.94: // a print on the breast
		px, py, r := p.between(-0.15, 0.15), p.between(-0.4, 0.2), p.between(0.15, 0.3)
		tone := p.between(0.05, 1)
		return func(x, y float64) float64 {
			if math.Hypot(x-px, y-py) < r {
				return tone
			}
			return base
		}
	default: // one broad band
		at, half, tone := p.between(-0.5, 0.6), p.between(0.1, 0.25), p.between(0.1, 1)
		return func(_, y float64) float64 {
			if math.Abs(y-at) < half {
				return tone
			}
			return base
		}
	}
}

// novelInk is a fabric that no set without drift has: zigzags or patches.
func (p *pen) novelInk(base float64) ink {
	freq, phase := p.between(4, 7), p.between(0, 6)
	if p.chance(0.5) {
		return func(x, y float64) float64 {
			return base * (1 - 0.65*wave(freq*(y+0.6*math.Abs(math.Mod(math.Abs(x)*3, 2)-1))+phase))
		}
	}
	return func(x, y float64) float64 {
		v := math.Sin(freq*x+phase) + math.Sin(freq*1.3*y-phase) + math.Sin(freq*0.8*(x+y))
		return base * (0.68 + 0.32*math.Tanh(3*v))
	}
}

// wave runs from 0 to 1 and back, with steep flanks.
func wave(t float64) float64 { return 0.5 + 0.5*math.Tanh(2.5*math.Sin(t)) }

// scaled is ink made darker or brighter.
func (k ink) scaled(factor float64) ink {
	return func(x, y float64) float64 { return min(k(x, y)*factor, 1) }
}
