package simulate

import (
	"math"
	"math/rand/v2"
	"time"
)

// The detectors, by their names in a report.
const (
	Alarm      = "alarm"       // driftgate's, with its reference from the first labels
	AlarmKnown = "alarm_known" // the same with the true error for its reference
	Threshold  = "threshold"   // weighted accuracy of the last 24h below the true one by Margin
	Wilson     = "wilson"      // 95% Wilson interval of the last 24h's labels below their true share
	ADWIN      = "adwin"       // Bifet & Gavalda 2007
	DDM        = "ddm"         // Gama et al. 2004
)

// Detectors lists them in the order of a report.
var Detectors = []string{Alarm, AlarmKnown, Threshold, Wilson, ADWIN, DDM}

// detector watches one deployment.
type detector interface {
	// observe takes one interval: raised says that an alarm began with it,
	// firing that one is on. A detector that begins anew after an alarm fires
	// in that interval only.
	observe(b batch) (raised, firing bool)
}

// outcome is one run's, in the order of [Detectors].
type outcome struct {
	alarms []int     // raised from the drop's time on
	delay  []float64 // days from then to the first alarm; +Inf when there was none in time
}

// scene is what happens to a deployment.
type scene struct {
	drop   float64 // of the accuracy
	halved bool    // the quota of random picks: no drop, but another mix of labels
}

// quiet says that nothing happens, so that every alarm is a false one and all
// are counted.
func (s scene) quiet() bool { return s == scene{} }

// play is one deployment: the reference is collected, QuietDays pass, the scene
// begins somewhere within a slot, and Days are waited for.
func play(o Options, random int, sc scene, rng *rand.Rand) outcome {
	s := newStream(o, random, rng)
	slots := newSlots(o)
	alarm := newAlarm(slots, 0)
	watch := []detector{alarm, newAlarm(slots, 1-o.Accuracy+o.Tolerance), newThreshold(o), newWilson(o, random), newADWIN(), newDDM()}
	lag := []time.Duration{o.LabelGrace, o.LabelGrace, o.LabelDelay, o.LabelDelay, o.LabelDelay, o.LabelDelay}
	perSlot := int(o.Slot / o.Interval)
	quiet := int(float64(o.QuietDays)*o.intervalsPerDay()) + rng.IntN(perSlot)
	// A reference may never be complete: its bound reaches 1 when hardly an
	// answer is right. Then this alarm stays silent.
	patience := 4*int(float64(o.ReferenceLabels)/o.labelsPerDay(random)*o.intervalsPerDay()) + 2*perSlot
	for ; quiet > 0; patience-- {
		b := s.next()
		slots.add(b)
		for _, d := range watch {
			d.observe(b)
		}
		if alarm.ready() || patience < 0 {
			quiet--
		}
	}
	s.drop(sc.drop)
	if sc.halved {
		s.random = max(1, random/2)
	}
	out := outcome{alarms: make([]int, len(watch)), delay: make([]float64, len(watch))}
	for i := range out.delay {
		out.delay[i] = math.Inf(1)
	}
	left := len(watch)
	horizon := int(float64(o.Days) * o.intervalsPerDay())
	for n := 1; n <= horizon && (sc.quiet() || left > 0); n++ {
		b := s.next()
		slots.add(b)
		for i, d := range watch {
			if !sc.quiet() && !math.IsInf(out.delay[i], 1) {
				continue
			}
			raised, firing := d.observe(b)
			if raised {
				out.alarms[i]++
			}
			if firing && math.IsInf(out.delay[i], 1) {
				out.delay[i] = (time.Duration(n)*o.Interval + lag[i]).Hours() / 24
				left--
			}
		}
	}
	return out
}
