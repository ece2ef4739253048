package rollout

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
)

var t0 = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func plan() Plan {
	return Plan{
		Stages:    []Stage{{dg.Shadow, 0, time.Hour}, {dg.Canary, .05, 2 * time.Hour}, {dg.Canary, .25, 2 * time.Hour}},
		MinLabels: 20, Watch: 24 * time.Hour, Slot: time.Hour, Grace: 30 * time.Minute, Alpha: .05, Harm: .02,
	}
}

// hours are closed slots from t0 on, each of the given blocks.
func hours(n, pairs int, blocks ...float64) []Slot {
	var out []Slot
	for i := range n {
		from := t0.Add(time.Duration(i) * time.Hour)
		out = append(out, Slot{dg.Interval{Start: from, End: from.Add(time.Hour)}, pairs, blocks})
	}
	return out
}

func TestARolloutMovesStageByStageAndStopsOnHarm(t *testing.T) {
	p := plan()
	blind := p.Weigh(append(hours(1, 10, 0), hours(30, 100)...)) // a hundred labels an hour that cannot be weighed
	fine, harm, few := p.Weigh(hours(3, 10, 0, 0, 0, .05)), p.Weigh(hours(30, 10, 1, 0, 1, 1)), p.Weigh(hours(1, 10, 0))
	at := func(step int) dg.Exposure {
		e := p.First("m", "sha256:bb", "sha256:aa", "gate", "run", t0)
		if e.Step = step; step >= 0 && step < len(p.Stages) {
			e.Stage, e.Share = p.Stages[step].Stage, p.Stages[step].Share
		}
		return e
	}
	later := func(e dg.Exposure) dg.Exposure {
		e.Since = t0.Add(3 * time.Hour) // after the newest closed slot
		return e
	}
	for _, tt := range []struct {
		name     string
		e        dg.Exposure
		champion dg.ModelRef
		ev       Evidence
		after    time.Duration
		want     Move
		share    float64
		why      string
	}{
		{"nothing is exposed", dg.Exposure{}, "sha256:aa", fine, time.Hour, Stay, 0, "nothing"},
		{"the stage has not lasted", at(0), "sha256:aa", fine, 59 * time.Minute, Stay, 0, "1m0s more"},
		{"shadow ends", at(0), "sha256:aa", fine, time.Hour, Advance, .05, "no harm"},
		{"too few labels", at(0), "sha256:aa", few, time.Hour, Stay, 0, "waiting for labels"},
		{"labels that cannot be weighed", at(0), "sha256:aa", blind, 40 * time.Hour, Stay, 0, "10 labelled"},
		{"no labels of this stage", later(at(1)), "sha256:aa", fine, 9 * time.Hour, Stay, 0, "no slot that began in this stage"},
		{"no labels at all, for ever", at(0), "sha256:aa", p.Weigh(nil), 1000 * time.Hour, Stay, 0, "0 labelled"},
		{"the canary grows", at(1), "sha256:aa", fine, 2 * time.Hour, Advance, .25, "no harm"},
		{"the last stage ends", at(2), "sha256:aa", fine, 2 * time.Hour, Promote, 0, "no harm"},
		{"harm ends it at once", at(1), "sha256:aa", harm, time.Minute, End, 0, "does harm"},
		{"harm, though the stage is over", at(2), "sha256:aa", harm, 9 * time.Hour, End, 0, "does harm"},
		{"the champion changed", at(1), "sha256:cc", fine, time.Minute, End, 0, "is champion now"},
		{"it became champion", at(1), "sha256:bb", fine, time.Minute, End, 0, "is champion"},
		{"set by a person", at(dg.ByHand), "sha256:aa", fine, 99 * time.Hour, Stay, 0, "a person"},
		{"set by a person, harm", at(dg.ByHand), "sha256:aa", harm, time.Hour, End, 0, "does harm"},
		{"the plan became shorter", at(7), "sha256:aa", fine, 99 * time.Hour, Stay, 0, "not in the plan"},
	} {
		d := p.Next(tt.e, tt.champion, tt.ev, t0.Add(tt.after))
		if d.Move != tt.want || d.Stage.Share != tt.share || !strings.Contains(d.Why, tt.why) {
			t.Errorf("%s: %s to %g, %q; want %s to %g and %q", tt.name, d.Move, d.Stage.Share, d.Why, tt.want, tt.share, tt.why)
		}
	}
}

func TestAFreshChampionIsWatchedForAWhile(t *testing.T) {
	p := plan()
	harm, fine := p.Weigh(hours(30, 10, 1, 0, 1, 1)), p.Weigh(hours(30, 10, 0))
	fresh := dg.Champion{Version: "sha256:bb", Previous: "sha256:aa", Generation: 2, PromotedAt: t0, Reason: "gate"}
	first, back := fresh, fresh
	first.Previous, back.Reason = "", "rollback: by a person"
	for _, tt := range []struct {
		name  string
		c     dg.Champion
		ev    Evidence
		after time.Duration
		want  Move
	}{
		{"harm", fresh, harm, 5 * time.Hour, Rollback},
		{"no harm", fresh, fine, 5 * time.Hour, Stay},
		{"labels that came late", fresh, harm, 25 * time.Hour, Rollback},
		{"long ago", fresh, harm, 48 * time.Hour, Stay},
		{"the first of all", first, harm, 5 * time.Hour, Stay},
		{"it came by a rollback", back, harm, 5 * time.Hour, Stay},
	} {
		if d := p.Fresh(tt.c, tt.ev, t0.Add(tt.after)); d.Move != tt.want {
			t.Errorf("%s: %s, %q; want %s", tt.name, d.Move, d.Why, tt.want)
		}
	}
	p.Watch = 0
	if d := p.Fresh(fresh, harm, t0); d.Move != Stay {
		t.Errorf("watched though it is off: %s", d.Move)
	}
}

func TestSlotsCloseInOrderAndJoinWhereLabelsAreFew(t *testing.T) {
	p := plan()
	began := t0.Add(10 * time.Minute) // the slot of t0 is not wholly the rollout's
	clock := func(iv dg.Interval) string { return iv.Start.Format("15") + "-" + iv.End.Format("15") }
	spans := func(ivs []dg.Interval) string {
		var out []string
		for _, iv := range ivs {
			out = append(out, clock(iv))
		}
		return strings.Join(out, " ")
	}
	one := hours(2, 5, 0)[1:]
	for _, tt := range []struct {
		name   string
		closed []Slot
		last   time.Time
		after  time.Duration
		want   string
	}{
		{"labels are waited for", nil, time.Time{}, 2*time.Hour + 29*time.Minute, ""},
		{"the first whole slot", nil, time.Time{}, 2*time.Hour + 30*time.Minute, "01-02"},
		{"or two of them", nil, time.Time{}, 4 * time.Hour, "01-02 01-03"},
		{"behind what is closed", one, time.Time{}, 4 * time.Hour, "02-03"},
		{"none that begins after the watch", one, t0.Add(3 * time.Hour), 9 * time.Hour, "02-03"},
		{"at most eight", nil, time.Time{}, 99 * time.Hour, "01-02 01-03 01-04 01-05 01-06 01-07 01-08 01-09"},
	} {
		got := p.Due(began, tt.closed, tt.last, t0.Add(tt.after))
		if spans(got) != tt.want || Settled(got) != (tt.after == 99*time.Hour) {
			t.Errorf("%s: %q, settled %v; want %q", tt.name, spans(got), Settled(got), tt.want)
		}
	}
}

func TestAPlanThatCannotBeIsRefused(t *testing.T) {
	if err := plan().Validate(); err != nil {
		t.Errorf("the plan of these tests: %v", err)
	}
	for text, spoil := range map[string]func(*Plan){
		"share of 0.1 in the shadow":      func(p *Plan) { p.Stages[0].Share = .1 },
		"shadow after canary":             func(p *Plan) { p.Stages[2] = Stage{Stage: dg.Shadow} },
		"share 0.01: want more than 0.05": func(p *Plan) { p.Stages[2].Share = .01 },
		"share 1: want more than 0":       func(p *Plan) { p.Stages[1].Share = 1 },
		"want shadow or canary":           func(p *Plan) { p.Stages[1].Stage = "blue" },
		"for -1ns: want 0s or more":       func(p *Plan) { p.Stages[1].For = -1 },
		"slot 0s":                         func(p *Plan) { p.Slot = 0 },
		"alpha 1":                         func(p *Plan) { p.Alpha = 1 },
		"harm 5: want 0 to .5":            func(p *Plan) { p.Harm = 5 },
		"label_grace -1ns: want 0s":       func(p *Plan) { p.Grace = -1 },
		"min_labels -1: want 0 or more":   func(p *Plan) { p.MinLabels = -1 },
		"watch -1ns: want 0s or more":     func(p *Plan) { p.Watch = -1 },
		"21 stages: want at most 20":      func(p *Plan) { p.Stages = make([]Stage, 21) },
	} {
		p := plan()
		spoil(&p)
		err := p.Validate()
		if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want invalid with %q", err, text)
		}
	}
}

// Once shown, harm stays shown: a restart between the slot that showed it and
// the move must not let luck in between hide it.
func TestHarmOnceShownStaysShown(t *testing.T) {
	p := plan()
	slots := append(hours(30, 10, 1, 0, 1, 1), hours(100, 10, -1, -1)...)
	if ev := p.Weigh(slots); !ev.harmful() {
		t.Errorf("evidence %.3g after better slots", ev.Worse)
	}
}

// A whole rollout of a challenger that is as good as the champion, and one that
// is ten points worse, on labels drawn anew: the first is promoted and the
// second is not, but for the promised share.
func TestRolloutsEndAsPromised(t *testing.T) {
	p := plan()
	p.Stages = []Stage{{dg.Canary, .1, 20 * 24 * time.Hour}}
	const runs = 200
	for _, tt := range []struct {
		name    string
		worse   float64
		ends    Move
		allowed int // runs that end otherwise
	}{{"as good", 0, Promote, 20}, {"ten points worse", .10, End, 4}} {
		rng := rand.New(rand.NewPCG(7, 7))
		other := 0
		for range runs {
			if p.play(rng, tt.worse) != tt.ends {
				other++
			}
		}
		t.Logf("%s: %d of %d did not end in %s", tt.name, other, runs, tt.ends)
		if other > tt.allowed {
			t.Errorf("%s: %d of %d runs did not end in %s", tt.name, other, runs, tt.ends)
		}
	}
}

// play runs a rollout with ten labels an hour, on which the models differ in
// every tenth, and returns how it ended.
func (p Plan) play(rng *rand.Rand, worse float64) Move {
	e := p.First("m", "sha256:bb", "sha256:aa", "gate", "run", t0)
	var slots []Slot
	for hour := 1; ; hour++ {
		now := t0.Add(time.Duration(hour) * time.Hour)
		for _, due := range p.Due(e.Began, slots, time.Time{}, now) {
			var picks []estimate.DifferencePick
			for i := range 10 {
				d := 0.0
				switch u := rng.Float64(); {
				case u < .05+worse:
					d = 1
				case u < .1+worse:
					d = -1
				}
				picks = append(picks, estimate.DifferencePick{ID: due.Start.String() + string(rune('a'+i)), Difference: d})
			}
			blocks, _ := estimate.DealDifferences([]estimate.DifferenceStratum{{Group: "random", Predictions: 100, Fraction: .1, Picks: picks}})
			slots = append(slots, Slot{due, 10, blocks})
			break
		}
		if hour%24 != 0 {
			continue // looks cost time, not validity
		}
		if d := p.Next(e, "sha256:aa", p.Weigh(slots), now); d.Move != Stay {
			return d.Move
		}
	}
}
