package simulate

import "math"

// ddm is the drift detection method of Gama, Medas, Castillo & Rodrigues (SBIA
// 2004): p is the error over all answers since it began and s its standard
// deviation; it alarms when p + s >= pmin + 3 smin, the two kept from where p +
// s was least, and begins anew. It looks from the 30th answer on.
type ddm struct {
	n, wrong   float64
	pMin, sMin float64
}

const ddmLeast = 30

func newDDM() *ddm { return &ddm{pMin: math.Inf(1)} }

func (d *ddm) observe(b batch) (raised, firing bool) {
	for _, wrong := range b.answers {
		if d.add(wrong) {
			raised = true
			*d = *newDDM()
		}
	}
	return raised, raised
}

func (d *ddm) add(wrong bool) (drift bool) {
	d.n++
	if wrong {
		d.wrong++
	}
	if d.n < ddmLeast {
		return false
	}
	p := d.wrong / d.n
	s := math.Sqrt(p * (1 - p) / d.n)
	if p+s <= d.pMin+d.sMin {
		d.pMin, d.sMin = p, s
	}
	return p+s > d.pMin+3*d.sMin
}
