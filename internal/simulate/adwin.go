package simulate

import "math"

// adwin is the adaptive window of Bifet & Gavalda (SIAM Data Mining 2007), in
// the form of ADWIN2: an exponential histogram of the answers, cut wherever the
// means of the older and the newer part differ by more than
//
//	sqrt(2/m s^2 ln(2/d)) + 2/(3m) ln(2/d),  1/m = 1/n0 + 1/n1,  d = delta/ln n.
//
// delta is .002 and it looks at every 32nd answer, as in the authors' MOA. A
// cut where the error fell shortens the window too, but is no alarm here.
type adwin struct {
	rows   [][]float64 // row i: sums of buckets of 2^i answers, oldest first
	n, sum float64
	clock  int
}

const (
	adwinDelta   = .002
	adwinBuckets = 5 // M: most buckets of one size
	adwinClock   = 32
	adwinLeast   = 5 // answers on each side of a cut
)

func newADWIN() *adwin { return &adwin{} }

func (a *adwin) observe(b batch) (raised, firing bool) {
	for _, wrong := range b.answers {
		a.add(wrong)
		if a.clock++; a.clock%adwinClock == 0 && a.cut() {
			raised = true
		}
	}
	return raised, raised
}

// add inserts one answer and merges the two oldest buckets of a size of which
// there are too many.
func (a *adwin) add(wrong bool) {
	x := 0.0
	if wrong {
		x = 1
	}
	a.n++
	a.sum += x
	for i := 0; ; i++ {
		if i == len(a.rows) {
			a.rows = append(a.rows, make([]float64, 0, adwinBuckets+1))
		}
		a.rows[i] = append(a.rows[i], x)
		if len(a.rows[i]) <= adwinBuckets {
			return
		}
		x = a.rows[i][0] + a.rows[i][1]
		a.rows[i] = append(a.rows[i][:0], a.rows[i][2:]...)
	}
}

// cut drops old buckets while some cut is significant; it reports whether the
// error rose over one of them.
func (a *adwin) cut() (rose bool) {
	for {
		found, up := a.significant()
		if !found {
			return rose
		}
		rose = rose || up
		last := len(a.rows) - 1
		a.n -= float64(int(1) << last)
		a.sum -= a.rows[last][0]
		a.rows[last] = append(a.rows[last][:0], a.rows[last][1:]...)
		for last >= 0 && len(a.rows[last]) == 0 {
			a.rows = a.rows[:last]
			last--
		}
	}
}

// significant looks for a cut between buckets, from the oldest on.
func (a *adwin) significant() (found, up bool) {
	if a.n < 2*adwinLeast {
		return false, false
	}
	mean := a.sum / a.n
	variance := mean * (1 - mean)
	log := math.Log(2 * math.Log(a.n) / adwinDelta)
	var n0, s0 float64
	for i := len(a.rows) - 1; i >= 0; i-- {
		for _, s := range a.rows[i] {
			n0 += float64(int(1) << i)
			s0 += s
			n1 := a.n - n0
			if n1 < adwinLeast {
				return false, false
			}
			if n0 < adwinLeast {
				continue
			}
			inverse := 1/n0 + 1/n1
			epsilon := math.Sqrt(2*inverse*variance*log) + 2./3*inverse*log
			if before, after := s0/n0, (a.sum-s0)/n1; math.Abs(after-before) > epsilon {
				return true, after > before
			}
		}
	}
	return false, false
}
