package evaluator

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	dg "driftgate"
)

// heldout judges on the held-out suite alone.
func heldout(g Gate, pairs []Pair, population []dg.StratumCount) dg.Comparison {
	return g.Judge([]Trial{{Suite: KindHeldout, Pairs: pairs, Population: population}})
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// batch makes n pairs of one stratum and class with the same outcome: "both",
// "champion", "challenger" or "neither" is right.
func batch(stratum dg.Stratum, class, outcome string, n int) []Pair {
	out := make([]Pair, n)
	for i := range out {
		p := Pair{ID: fmt.Sprintf("%s-%s-%s-%d", stratum, class, outcome, i), Stratum: stratum, Interval: noon, Label: class, Champion: "wrong", Challenger: "wrong"}
		if outcome == "both" || outcome == "champion" {
			p.Champion = class
		}
		if outcome == "both" || outcome == "challenger" {
			p.Challenger = class
		}
		out[i] = p
	}
	return out
}

// mostly is the usual population: nine in ten predictions are nothing special.
var mostly = []dg.StratumCount{
	{Stratum: dg.Random, Interval: noon, Predictions: 9000, Selected: 1000, Labels: 900},
	{Stratum: dg.LowConfidence, Interval: noon, Predictions: 1000, Selected: 1000, Labels: 900},
}

func TestJudge(t *testing.T) {
	join := slices.Concat[[]Pair]
	better := join(batch(dg.Random, "Bag", "both", 300), batch(dg.Random, "Bag", "challenger", 60), batch(dg.Random, "Bag", "champion", 5),
		batch(dg.LowConfidence, "Bag", "both", 50), batch(dg.LowConfidence, "Bag", "challenger", 60))
	unread := func(n int) []Pair {
		ps := batch(dg.Random, "Bag", "neither", n)
		for i := range ps {
			ps[i].ID, ps[i].Challenger = "unread"+ps[i].ID, ""
		}
		return ps
	}
	forgets := join(batch(dg.Random, "Bag", "both", 300), batch(dg.Random, "Bag", "challenger", 100), batch(dg.LowConfidence, "Bag", "challenger", 50),
		batch(dg.Random, "Coat", "champion", 30), batch(dg.Random, "Coat", "both", 10))
	for _, tt := range []struct {
		name       string
		pairs      []Pair
		population []dg.StratumCount
		g          Gate
		want       dg.Verdict
		says       string
	}{
		{"nothing at all", nil, nil, Gate{}, dg.Inconclusive, "no labelled sample"},
		{"no pairs of a known population", nil, mostly, Gate{}, dg.Inconclusive, "no labelled sample"},
		{"few pairs, all gains", batch(dg.Random, "Bag", "challenger", 60), mostly, Gate{}, dg.Inconclusive, "60 held-out pairs, want at least 100"},
		{"clear gain", better, mostly, Gate{}, dg.Promote, "better by"},
		{"clear gain, but not of the margin", better, mostly, Gate{Margin: .5}, dg.Reject, "no gain worth"},
		{"clear loss", join(batch(dg.Random, "Bag", "both", 300), batch(dg.Random, "Bag", "champion", 60), batch(dg.LowConfidence, "Bag", "both", 50)),
			mostly, Gate{}, dg.Reject, "worse"},
		{"even trade, many pairs", join(batch(dg.Random, "Bag", "both", 9000), batch(dg.Random, "Bag", "champion", 50), batch(dg.Random, "Bag", "challenger", 50)),
			[]dg.StratumCount{{Stratum: dg.Random, Interval: noon, Predictions: 90000, Selected: 9100, Labels: 9100}}, Gate{}, dg.Reject, "no gain worth"},
		{"even trade, few pairs", join(batch(dg.Random, "Bag", "both", 200), batch(dg.Random, "Bag", "champion", 20), batch(dg.Random, "Bag", "challenger", 20)),
			mostly[:1], Gate{}, dg.Inconclusive, "more held-out labels would decide it"},
		{"gains on the hard tenth only, losses hidden in few random picks",
			join(batch(dg.LowConfidence, "Bag", "challenger", 120), batch(dg.LowConfidence, "Bag", "both", 200), batch(dg.Random, "Bag", "both", 30), batch(dg.Random, "Bag", "champion", 1)),
			mostly, Gate{}, dg.Inconclusive, "too wide"},
		{"no pair of the random stratum", join(batch(dg.LowConfidence, "Bag", "challenger", 200), batch(dg.LowConfidence, "Bag", "both", 200)),
			mostly, Gate{}, dg.Inconclusive, "of which no pair is held out"},
		{"one in twenty unreadable is borne", join(better, unread(20)), mostly, Gate{}, dg.Promote, "20 held-out samples were left out"},
		{"one in ten unreadable is a failure, no judgement", join(better, unread(60)), mostly, Gate{}, dg.Errored, "have no answer"},
		{"a clean bucket alone cannot weigh", better,
			[]dg.StratumCount{{Stratum: dg.Random, Predictions: 365, Labels: 365}, {Stratum: dg.LowConfidence, Predictions: 110, Labels: 110}},
			Gate{}, dg.Inconclusive, "not known"},
		{"no population cannot weigh", better, nil, Gate{}, dg.Inconclusive, "not known"},
		{"better overall, but a class is forgotten", forgets, mostly, Gate{}, dg.Reject, `forgets "Coat"`},
		{"a forgotten class may be allowed", forgets, mostly, Gate{RecallDrop: .95}, dg.Promote, "better by"},
		{"a repaired champion is below an absolute floor that nobody set",
			join(batch(dg.Random, "Bag", "both", 50), batch(dg.Random, "Bag", "challenger", 150), batch(dg.Random, "Bag", "neither", 200)), mostly[:1], Gate{}, dg.Promote, "better by"},
		{"clearly below a floor that somebody set",
			join(batch(dg.Random, "Bag", "both", 50), batch(dg.Random, "Bag", "challenger", 150), batch(dg.Random, "Bag", "neither", 200)), mostly[:1], Gate{Floors: Floors{Overall: .8}}, dg.Reject, "below the floor of 80.0%"},
		{"perhaps below the floor",
			join(batch(dg.Random, "Bag", "both", 50), batch(dg.Random, "Bag", "challenger", 150), batch(dg.Random, "Bag", "neither", 200)), mostly[:1], Gate{Floors: Floors{Overall: .51}}, dg.Inconclusive, "a person must decide"},
		{"a class clearly below its floor", join(better, batch(dg.Random, "Coat", "neither", 40)), mostly, Gate{Floors: Floors{Class: .5}}, dg.Reject, `recall of "Coat"`},
		{"a class with too few pairs is not judged", join(better, batch(dg.Random, "Coat", "neither", 19)), mostly, Gate{Floors: Floors{Class: .5}}, dg.Promote, "better by"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := heldout(tt.g, tt.pairs, tt.population)
			if c.Verdict != tt.want {
				t.Errorf("verdict %s, want %s: %q", c.Verdict, tt.want, c.Reasons)
			}
			if all := strings.Join(c.Reasons, "\n"); !strings.Contains(all, tt.says) {
				t.Errorf("reasons %q do not say %q", c.Reasons, tt.says)
			}
			if c.BothRight+c.OnlyChampion+c.OnlyChallenger+c.BothWrong != c.Pairs {
				t.Errorf("outcomes of %+v do not add up", c)
			}
			if !finite(c.Difference, c.Lower, c.Upper, c.PValue, c.ChampionAccuracy, c.ChallengerAccuracy) || c.Lower > c.Difference || c.Difference > c.Upper {
				t.Errorf("figures of %+v", c)
			}
			t.Logf("%s %q", c.Verdict, c.Reasons)
		})
	}
}

func TestJudgeWeighsByPopulation(t *testing.T) {
	// 9 in 10 predictions are random: loses 2 points there, gains 30 on the rest.
	pairs := slices.Concat(batch(dg.Random, "Bag", "both", 98), batch(dg.Random, "Bag", "champion", 2),
		batch(dg.LowConfidence, "Bag", "both", 70), batch(dg.LowConfidence, "Bag", "challenger", 30))
	c := heldout(Gate{}, pairs, mostly)
	if want := .1*.30 - .9*.02; math.Abs(c.Difference-want) > 1e-12 {
		t.Errorf("difference %g, want %g", c.Difference, want)
	}
	if want := .9*1 + .1*.7; math.Abs(c.ChampionAccuracy-want) > 1e-12 {
		t.Errorf("champion %g, want %g", c.ChampionAccuracy, want)
	}
	if want := .9*.98 + .1*1; math.Abs(c.ChallengerAccuracy-want) > 1e-12 {
		t.Errorf("challenger %g, want %g", c.ChallengerAccuracy, want)
	}
	if want := .5; c.PValue != want { // 2 against 0 among the random picks
		t.Errorf("p %g, want %g", c.PValue, want)
	}
	if c.OnlyChallenger != 30 || c.OnlyChampion != 2 {
		t.Errorf("%+v", c)
	}
}

func TestJudgeIgnoresOrderAndRepeats(t *testing.T) {
	pairs := slices.Concat(batch(dg.Random, "Bag", "both", 200), batch(dg.Random, "Coat", "champion", 10), batch(dg.LowConfidence, "Bag", "challenger", 60))
	want := heldout(Gate{}, pairs, mostly)
	twice := slices.Concat(pairs, pairs)
	slices.Reverse(twice)
	reversed := slices.Clone(mostly)
	slices.Reverse(reversed)
	if got := heldout(Gate{}, twice, reversed); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("reversed and doubled:\n%+v\nwant\n%+v", got, want)
	}
}

func TestJudgeLeavesUnlabelledIntervalsOut(t *testing.T) {
	pairs := slices.Concat(batch(dg.Random, "Bag", "both", 98), batch(dg.Random, "Bag", "champion", 2),
		batch(dg.LowConfidence, "Bag", "both", 70), batch(dg.LowConfidence, "Bag", "challenger", 30))
	later := append(slices.Clone(mostly), dg.StratumCount{Stratum: dg.LowConfidence, Interval: noon.Add(time.Hour), Predictions: 90000},
		dg.StratumCount{Stratum: dg.Flagged, Predictions: 10000}) // the newest interval, not curated
	if got, want := heldout(Gate{}, pairs, later), heldout(Gate{}, pairs, mostly); got.Difference != want.Difference || got.Upper != want.Upper {
		t.Errorf("with an interval nobody has labelled in: %+v, want %+v", got, want)
	}
}

func TestOptionsReportEveryFault(t *testing.T) {
	err := Options{Gate: Gate{MinPairs: -1, Margin: 2, Floors: Floors{Overall: math.NaN()}}, Workers: -3}.Validate()
	if !errors.Is(err, dg.ErrInvalid) {
		t.Fatalf("error %v, want ErrInvalid", err)
	}
	for _, name := range []string{"min_pairs", "margin", "floors.overall", "workers"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
	if err := (Options{}).Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	if err := (Options{Gate: Gate{MinPairs: 500}, MaxPairs: 400}).Validate(); err == nil {
		t.Error("max_pairs below min_pairs passed")
	}
}
