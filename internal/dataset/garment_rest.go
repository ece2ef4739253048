package dataset

func drawTrouser(p *pen) {
	waist, knee, cuff := p.between(0.24, 0.40), p.between(0.26, 0.44), p.between(0.24, 0.46)
	crotch, gap, end := p.between(-0.45, -0.2), p.between(0.01, 0.12), p.between(0.9, 1.04)
	if p.novel { // flared shorts
		end, cuff, waist = 0.1, 0.75, 0.42
	}
	leg := start(0, -0.98).line(waist, -0.98).curve(knee+0.05, -0.5, knee, (end-0.4)/2).
		line(cuff+gap, end).line(gap+0.02, end).line(0.005, crotch).symmetric()
	p.fill(leg, p.ink)
	if p.chance(0.7) {
		p.shade(box(-waist-0.1, -1.0, waist+0.1, -0.87), p.between(0.5, 1.3))
	}
	if p.chance(0.4) { // creases
		f := p.between(0.6, 0.85)
		x := (knee + gap) / 2
		p.shade(box(x, -0.3, x+0.06, end), f)
		p.shade(box(-x-0.06, -0.3, -x, end), f)
	}
}

func drawBag(p *pen) {
	w, top, bottom := p.between(0.6, 0.98), p.between(-0.45, 0.05), p.between(0.55, 0.9)
	neck := w * p.between(0.7, 1.02)
	handle := p.between(0.3, 0.75)
	if p.novel { // a round one on a long strap
		p.strap(0.75, -1.0, 0, 0.9)
		p.fill(oval(0, 0.35, 0.6, 0.6), p.ink)
		p.shade(box(-0.5, 0.2, 0.5, 0.3), 0.4)
		return
	}
	switch kind := p.rng.Float64(); {
	case kind < 0.6:
		p.strap(neck*handle, top-p.between(0.3, 0.75), top+0.05, p.between(0.6, 1.0))
	case kind < 0.8: // two handles
		p.strap(neck*handle, top-p.between(0.2, 0.5), top+0.05, 0.7)
		p.strap(neck*handle*0.8, top-p.between(0.2, 0.4), top+0.05, 0.9)
	}
	p.fill(start(0, top).line(neck-0.1, top).curve(neck, top, neck, top+0.1).
		line(w, bottom-0.12).curve(w, bottom, w-0.12, bottom).line(0, bottom).symmetric(), p.ink)
	if p.chance(0.55) { // a flap
		p.shade(start(0, top).line(neck, top).curve(neck*0.8, top+0.5, 0, top+p.between(0.3, 0.55)).symmetric(), p.between(0.6, 1.25))
	}
	if p.chance(0.5) { // a clasp
		y := top + p.between(0.2, 0.5)
		p.shade(box(-0.08, y, 0.08, y+0.14), p.between(1.4, 2))
	}
	if p.chance(0.2) { // folded sides: from afar, the sleeves of a pullover
		p.shade(box(w*0.6, top, w, bottom), 0.7)
		p.shade(box(-w, top, -w*0.6, bottom), 0.7)
	}
}

// strap draws a bow from (-half, y1) up to peak and down to (half, y1).
func (p *pen) strap(half, peak, y1, tone float64) {
	const thick = 0.12
	p.fill(start(-half, y1).curve(-half, peak, 0, peak).curve(half, peak, half, y1).
		line(half-thick, y1).curve(half-thick, peak+thick, 0, peak+thick).
		curve(thick-half, peak+thick, thick-half, y1), p.ink.scaled(tone))
}

// A shoe's measures; the toe points to the left.
type shoe struct {
	soleY, soleThick float64
	heel             float64 // height
	toe, vamp        float64 // y of the upper's toe and of the instep
	shaft            float64 // y of its upper end
	back             float64 // x of the heel
}

func (p *pen) randomShoe() shoe {
	s := shoe{
		soleY: p.between(0.42, 0.6), soleThick: p.between(0.08, 0.17),
		toe: p.between(0.12, 0.3), vamp: p.between(-0.12, 0.08),
		shaft: p.between(-0.36, -0.12), back: p.between(0.8, 0.95),
	}
	if p.chance(0.5) {
		p.flip()
	}
	return s
}

// drawUpper draws the closed part of a shoe, and its sole.
func (p *pen) drawUpper(s shoe, opening float64) {
	p.fill(start(-0.95, s.soleY).curve(-0.98, s.toe, -0.6, s.toe-0.02).
		curve(-0.25, s.vamp+0.06, opening, s.vamp-0.04).line(opening+0.06, s.shaft).
		curve((opening+s.back)/2, s.shaft+0.07, s.back-0.04, s.shaft-0.03).
		line(s.back, s.soleY), p.ink)
	p.drawSole(s, p.between(0.5, 1.5))
}

func (p *pen) drawSole(s shoe, tone float64) {
	y, low := s.soleY, s.soleY+s.soleThick
	if s.heel == 0 {
		p.fill(polygon(-0.97, y, s.back+0.02, y, s.back+0.02, low, -0.93, low), p.ink.scaled(tone))
		return
	}
	p.fill(polygon(-0.97, y, s.back, y-s.heel, s.back+0.01, y-s.heel+s.soleThick, -0.93, low), p.ink.scaled(tone))
	p.fill(polygon(s.back-0.3, y-s.heel, s.back+0.01, y-s.heel, s.back-0.04, low, s.back-0.2, low), p.ink.scaled(tone))
}

func drawSneaker(p *pen) {
	s := p.randomShoe()
	opening := p.between(0.05, 0.3)
	if p.chance(0.2) { // over the ankle
		s.shaft -= p.between(0.15, 0.4)
	}
	if p.novel { // a platform of three soles
		s.soleThick, s.shaft, s.toe = 0.5, -0.3, 0.0
		s.soleY = 0.3
	}
	p.drawUpper(s, opening)
	if p.chance(0.8) { // laces
		f := p.between(1.3, 2)
		if p.chance(0.4) {
			f = p.between(0.3, 0.6)
		}
		for k := range 3 {
			x := opening - 0.12 - 0.17*float64(k)
			y := s.vamp + 0.02 + 0.05*float64(k)
			p.shade(polygon(x, y-0.03, x+0.06, y-0.03, x+0.14, y+0.16, x+0.08, y+0.16), f)
		}
	}
	if p.chance(0.5) { // a mark on the side
		x := p.between(-0.1, 0.3)
		p.shade(polygon(x, 0.1, x+0.12, 0.1, x+0.28, s.soleY, x+0.16, s.soleY), p.between(0.3, 1.8))
	}
	if p.chance(0.4) {
		p.shade(box(-1, s.toe, -0.62, s.soleY), p.between(0.6, 1.5)) // toe cap
	}
}

func drawBoot(p *pen) {
	s := p.randomShoe()
	s.soleY = p.between(0.58, 0.8)
	s.toe, s.vamp = s.soleY-p.between(0.25, 0.4), s.soleY-p.between(0.45, 0.65)
	s.shaft = p.between(-0.98, -0.45)
	opening := p.between(0.0, 0.25)
	if p.chance(0.5) {
		s.heel = p.between(0.08, 0.3)
	}
	if p.novel { // thigh-high and thin
		s.shaft, opening, s.heel = -1.15, 0.45, 0.4
	}
	p.drawUpper(s, opening)
	if p.chance(0.35) { // an elastic side
		x := (opening + s.back) / 2
		p.shade(polygon(x-0.1, s.shaft, x+0.14, s.shaft, x+0.04, s.vamp, x-0.02, s.vamp), p.between(0.4, 0.75))
	}
	if p.chance(0.35) { // a buckle strap
		y := s.vamp - p.between(0.05, 0.2)
		p.shade(box(opening-0.05, y, s.back+0.05, y+0.1), p.between(0.4, 1.6))
	}
}

func drawSandal(p *pen) {
	s := p.randomShoe()
	s.soleThick = p.between(0.07, 0.16)
	if p.chance(0.45) {
		s.heel = p.between(0.15, 0.6)
	}
	if p.novel { // a clog: closed in front, on a block
		s.soleThick, s.heel = 0.35, 0
		s.soleY = 0.35
		p.fill(start(-0.95, s.soleY).curve(-0.95, -0.2, -0.3, -0.2).line(0.0, s.soleY), p.ink)
		p.drawSole(s, 1)
		return
	}
	straps := 1 + p.rng.IntN(3)
	for k := range straps {
		x := -0.75 + 0.42*float64(k) + p.between(-0.08, 0.08)
		high := s.soleY - p.between(0.25, 0.5)
		slope := s.heel * (x + 0.9) / 1.8
		w := p.between(0.12, 0.3)
		p.fill(start(x, s.soleY-slope+0.05).curve(x+0.05, high-slope, x+0.28, high-slope).
			line(x+0.28+w, high-slope+0.02).curve(x+w, high-slope+0.15, x+w, s.soleY-slope+0.05), p.ink)
	}
	if p.chance(0.65) { // round the ankle
		y := p.between(-0.55, -0.1) - s.heel*0.4
		t := p.between(0.08, 0.14)
		p.fill(polygon(s.back-0.5, y, s.back, y-0.05, s.back, y+t-0.05, s.back-0.5, y+t), p.ink)
		p.fill(polygon(s.back-0.1, y, s.back, y, s.back, s.soleY-s.heel, s.back-0.1, s.soleY-s.heel), p.ink)
		if p.chance(0.5) {
			p.fill(polygon(s.back-0.5, y, s.back-0.4, y, s.back-0.7, s.soleY-0.2, s.back-0.82, s.soleY-0.2), p.ink)
		}
	}
	if p.chance(0.12) { // almost a shoe
		p.drawUpper(shoe{soleY: s.soleY, soleThick: s.soleThick, toe: s.toe + 0.1, vamp: s.vamp + 0.15, shaft: s.shaft + 0.2, back: s.back}, p.between(0.1, 0.4))
		return
	}
	p.drawSole(s, p.between(0.7, 1.2))
}
