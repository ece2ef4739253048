package dataset

import "math"

// A top is what T-shirts, pullovers, coats, shirts and many dresses are made
// of. Lengths are in garment coordinates. The classes overlap on purpose: a
// shirt with short sleeves and a faint placket is hard to tell from a T-shirt,
// for people as well.
type top struct {
	bottom                    float64 // y of the hem
	shoulder, chest           float64 // half widths
	waist, hem                float64 // half widths
	sleeve, sleeveWidth, hang float64 // length, width, angle from straight out (radians)
	neckWidth, neckDepth      float64
	collar, roll, hood        bool
	placket, opening, lapels  bool
	buttons, rib, pockets     bool
}

const topY = -0.92 // y of the shoulders' inner end

// randomTop draws the measures that all tops share.
func (p *pen) randomTop() top {
	chest := p.between(0.46, 0.60)
	return top{
		bottom: p.between(0.80, 0.98), chest: chest, shoulder: chest + p.between(-0.04, 0.04),
		waist: chest + p.between(-0.08, 0.03), hem: chest + p.between(-0.04, 0.07),
		sleeveWidth: p.between(0.24, 0.34), hang: p.between(0.75, 1.32),
		neckWidth: p.between(0.16, 0.26), neckDepth: p.between(0.05, 0.24),
	}
}

func drawTShirt(p *pen) {
	t := p.randomTop()
	t.sleeve, t.hang = p.between(0.30, 0.55), p.between(0.5, 1.15)
	t.placket = p.chance(0.07)
	t.collar = p.chance(0.07)
	if p.novel { // a tank top, or a wide poncho cut
		t.sleeve, t.neckDepth, t.bottom = 0, 0.45, 0.6
		t.shoulder = 0.34
	}
	p.drawTop(t)
}

func drawShirt(p *pen) {
	t := p.randomTop()
	t.sleeve = p.between(0.85, 1.35)
	if p.chance(0.4) {
		t.sleeve, t.hang = p.between(0.5, 0.78), p.between(0.5, 1.15)
	}
	t.collar, t.placket, t.buttons = p.chance(0.9), p.chance(0.86), p.chance(0.6)
	t.neckDepth = p.between(0.04, 0.28)
	if p.novel { // a tunic: open sleeves, cut long
		t.sleeve, t.sleeveWidth, t.hang, t.waist = 0.7, 0.5, 0.5, 0.34
		t.placket, t.opening = false, true
	}
	p.drawTop(t)
}

func drawPullover(p *pen) {
	t := p.randomTop()
	t.sleeve, t.sleeveWidth = p.between(0.95, 1.42), p.between(0.28, 0.38)
	t.rib, t.roll = p.chance(0.75), p.chance(0.3)
	t.placket = p.chance(0.07)
	t.neckDepth = p.between(0.03, 0.16)
	t.hem -= 0.04
	if p.novel { // a hooded one, arms stretched out, cropped
		t.hood, t.hang, t.bottom = true, 0.25, 0.45
	}
	p.drawTop(t)
}

func drawCoat(p *pen) {
	t := p.randomTop()
	t.sleeve, t.sleeveWidth = p.between(1.0, 1.48), p.between(0.28, 0.40)
	t.bottom = p.between(0.90, 1.06)
	t.hem += p.between(0, 0.09)
	t.opening, t.lapels = p.chance(0.95), p.chance(0.75)
	t.buttons, t.pockets = p.chance(0.5), p.chance(0.4)
	t.collar = p.chance(0.3)
	t.neckDepth = p.between(0.06, 0.3)
	if p.novel { // a cape: no sleeves, very wide hem
		t.sleeve, t.hem, t.waist, t.shoulder = 0, 0.98, 0.7, 0.4
	}
	p.drawTop(t)
}

func drawDress(p *pen) {
	waist := p.between(0.22, 0.36)
	t := top{
		bottom: p.between(0.92, 1.06), chest: waist + p.between(0.02, 0.12), waist: waist,
		hem:         waist + p.between(0.04, 0.34),
		sleeveWidth: p.between(0.16, 0.26), hang: p.between(0.8, 1.3),
		neckWidth: p.between(0.12, 0.2), neckDepth: p.between(0.06, 0.34),
	}
	t.shoulder = t.chest - p.between(0, 0.08)
	switch {
	case p.chance(0.28):
		t.sleeve = p.between(0.8, 1.2)
	case p.chance(0.4):
		t.sleeve = p.between(0.25, 0.5)
	}
	t.placket = p.chance(0.1)
	if p.novel { // a ball gown
		t.hem, t.waist, t.sleeve = 0.95, 0.2, 0
	}
	p.drawTop(t)
	if p.chance(0.35) { // a belt
		y := p.between(-0.25, 0.05)
		p.shade(box(-t.waist-0.1, y, t.waist+0.1, y+0.09), p.between(0.3, 1.5))
	}
}

// drawTop draws sleeves, body and details, in this order.
func (p *pen) drawTop(t top) {
	drop := topY + 0.12 // y of the shoulders' outer end
	armpit := drop + t.sleeveWidth*1.15
	if t.sleeve > 0 {
		s := t.sleeveShape(drop, armpit)
		tone := p.ink.scaled(p.between(0.72, 1.02))
		p.fill(s, tone)
		p.fill(s.mirror(), tone)
	}
	if t.hood {
		p.fill(oval(0, topY, t.neckWidth+0.2, 0.3), p.ink.scaled(0.7))
	}
	if t.roll {
		p.fill(box(-t.neckWidth, topY-0.14, t.neckWidth, topY+0.1), p.ink.scaled(0.85))
		t.neckDepth = 0
	}
	waistY := t.bottom * 0.25
	body := start(0, topY+t.neckDepth).curve(t.neckWidth*0.9, topY+t.neckDepth, t.neckWidth, topY).
		line(t.shoulder, drop).line(t.chest, armpit).
		curve(t.waist, waistY, t.hem, t.bottom).line(0, t.bottom+0.02).symmetric()
	p.fill(body, p.ink)
	p.drawFront(t)
}

// sleeveShape is the right sleeve.
func (t top) sleeveShape(drop, armpit float64) shape {
	dy, dx := math.Sincos(t.hang)
	cuff := t.sleeveWidth * 0.72
	ox, oy := t.shoulder+dx*t.sleeve, drop+dy*t.sleeve
	return polygon(t.shoulder-0.12, drop-0.03, t.shoulder, drop, ox, oy, ox-dy*cuff, oy+dx*cuff, t.chest-0.06, armpit)
}

// drawFront draws what lies on the body.
func (p *pen) drawFront(t top) {
	dark, line := p.between(0.15, 0.5), p.between(0.045, 0.075)
	if p.chance(0.5) {
		dark = p.between(1.7, 2.6)
	}
	if t.rib {
		p.shade(box(-t.hem-0.1, t.bottom-0.12, t.hem+0.1, t.bottom+0.05), p.between(0.65, 0.9))
	}
	if t.collar {
		w := t.neckWidth + 0.05
		leaf := polygon(0.02, topY+t.neckDepth+0.03, w, topY-0.05, w+0.08, topY+0.08, 0.12, topY+t.neckDepth+0.17)
		tone := p.ink.scaled(p.between(0.6, 1.4))
		p.fill(leaf, tone)
		p.fill(leaf.mirror(), tone)
	}
	if t.lapels {
		w := t.neckWidth
		leaf := polygon(0, topY+t.neckDepth+0.5, w, topY, w+0.12, topY+0.25)
		f := p.between(0.5, 0.85)
		p.shade(leaf, f)
		p.shade(leaf.mirror(), f)
	}
	if t.placket || t.opening {
		end := t.bottom
		if t.placket && p.chance(0.15) {
			end = -0.3 // a polo's
		}
		p.shade(box(-line, topY+t.neckDepth, line, end), dark)
		if t.opening && p.chance(0.4) { // not buttoned up
			p.erase(polygon(0, p.between(-0.6, 0.2), 0.12, t.bottom+0.1, -0.12, t.bottom+0.1))
		}
	}
	if t.buttons {
		for y := topY + t.neckDepth + 0.15; y < t.bottom-0.1; y += 0.3 {
			p.shade(box(-0.05, y-0.04, 0.05, y+0.04), 1.6)
		}
	}
	if t.pockets {
		pocket := box(t.waist*0.35, 0.25, t.waist*0.8, 0.33)
		p.shade(pocket, dark)
		p.shade(pocket.mirror(), dark)
	}
}
