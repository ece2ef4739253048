package estimate

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	dg "driftgate"
)

// Year is the unit of the detector's evidence and of its threshold.
const Year = 8766 * time.Hour // 365.25 days

// deltas are the rises of the error that the detector's components bet on.
var deltas = [...]float64{.01, .02, .04, .08, .16, .32}

// maxEvidence keeps the state finite when nobody resets it.
const maxEvidence = 1e250

// Detector is the drift alarm's test: a mixture of Shiryaev-Roberts e-detectors
// (Shin, Ramdas & Rinaldo, arXiv 2203.03532) on the design-weighted error of
// closed event-time slots. While the error stays at or below P0, the mean time
// to a false alarm is at least ThresholdYears, and the chance of one within y
// years at most y/ThresholdYears, however often one looks.
type Detector struct {
	P0             float64 // error rate that is still fine, between 0 and 1: the reference's upper bound plus the tolerance
	ThresholdYears float64 // evidence at which the alarm is raised, in years
}

// Validate reports every fault; the error is [dg.ErrInvalid].
func (d Detector) Validate() error {
	var errs []error
	if !(d.P0 > 0 && d.P0 < 1) { // also refuses NaN
		errs = append(errs, fmt.Errorf("p0 %g: want an error rate between 0 and 1: %w", d.P0, dg.ErrInvalid))
	}
	if !(d.ThresholdYears > 0) || math.IsInf(d.ThresholdYears, 1) {
		errs = append(errs, fmt.Errorf("threshold_years %g: want over 0: %w", d.ThresholdYears, dg.ErrInvalid))
	}
	return errors.Join(errs...)
}

// lambdas is the grid of bets, each below 1/p0 so that no factor is negative.
func (d Detector) lambdas() [len(deltas)]float64 {
	var l [len(deltas)]float64
	for j, delta := range deltas {
		l[j] = min(delta/(d.P0*(1-d.P0)), .95/d.P0)
	}
	return l
}

// State is the detector between two slots. The zero value is a fresh detector;
// assigning it is the reset after an alarm or a promotion.
type State struct {
	M     []float64   `json:"m,omitempty"`     // per component, in years
	Walk  []float64   `json:"walk,omitempty"`  // per component: log of the product since its excursion began, 0 when in none
	Since []time.Time `json:"since,omitempty"` // per component: start of the slot in which that excursion began
	Slots int         `json:"slots,omitempty"` // slots with picks since the reset
}

// Evidence is the mean of the components, in years.
func (s State) Evidence() float64 {
	var sum float64
	for _, m := range s.M {
		sum += m / float64(len(s.M))
	}
	return sum
}

// Onset is when the present excursion began, if there is one: for the component
// with the most evidence, the start of the slot after which the product of its
// factors has been largest. That is the change point of greatest likelihood for
// this component; it tends to lie a little late for small drops, and before any
// drop it only names the latest unlucky spell.
func (s State) Onset() (t time.Time, ok bool) {
	best := -1
	for j, m := range s.M {
		if s.Walk[j] > 0 && (best < 0 || m > s.M[best]) {
			best = j
		}
	}
	if best < 0 {
		return time.Time{}, false
	}
	return s.Since[best], true
}

// Slot is one closed slot of event time: who was predicted, who was picked for
// labelling, and who of those turned out wrong. It closes once, by clock or by
// counts, never by what the labels say.
type Slot struct {
	Start  time.Time
	Length time.Duration // fixed beforehand
	Strata []SlotStratum // reason x curate interval
}

// SlotStratum is one stratum within a slot. The picks are a random sample of
// its predictions, or all of them.
type SlotStratum struct {
	Predictions int    // N_h; less than the picks is taken as their number
	Picks       []Pick // may be empty: the stratum then counts as correct
}

// Pick is one sample picked for labelling.
type Pick struct {
	ID   string  // the sample's identity: its hash deals it to a block
	Loss float64 // share of the people who answered that disagree with the model, 0 to 1; unlabelled counts as 0
}

// SlotResult is what one slot did to the detector: kept with the slot's inputs,
// so that anyone can recompute the decision.
type SlotResult struct {
	Blocks   int       `json:"blocks"`         // B; 0 when nothing was picked and the state stayed as it was
	Errors   []float64 `json:"errors"`         // T of each block: the weighted error, 0 to 1
	Evidence float64   `json:"evidence_years"` // mean of the components after the slot
	Crossed  bool      `json:"crossed"`        // Evidence has reached the threshold
	Onset    time.Time `json:"onset,omitzero"` // see [State.Onset]
}

// Step closes one slot: it deals the picks ([Slot.Errors]) and bets on the
// blocks ([Detector.Bet]). The error is [dg.ErrInvalid]: bad options, a slot
// without length, or a state of another grid.
func (d Detector) Step(s State, slot Slot) (State, SlotResult, error) {
	return d.Bet(s, slot.Start, slot.Length, slot.Errors())
}

// Bet closes a slot that began at start, by its blocks' weighted errors T, each
// 0 to 1 and made without looking at an answer before it was dealt. Each
// component moves by M <- (M + w)(1 + lambda (T - p0)) a block, w = slot length
// in years / B. Evidence is looked at when the slot ends, not between blocks.
//
// The given state is not changed. Errors are those of [Detector.Step].
func (d Detector) Bet(s State, start time.Time, length time.Duration, errors []float64) (State, SlotResult, error) {
	if err := d.Validate(); err != nil {
		return s, SlotResult{}, fmt.Errorf("estimate: detector: %w", err)
	}
	if length <= 0 {
		return s, SlotResult{}, fmt.Errorf("estimate: detector: slot of length %s: want over 0s: %w", length, dg.ErrInvalid)
	}
	if n := len(s.M); n != 0 && (n != len(deltas) || len(s.Walk) != n || len(s.Since) != n) {
		return s, SlotResult{}, fmt.Errorf("estimate: detector: state with %d components: want 0 or %d: %w", n, len(deltas), dg.ErrInvalid)
	}
	next := State{M: slices.Clone(s.M), Walk: slices.Clone(s.Walk), Since: slices.Clone(s.Since), Slots: s.Slots}
	if next.M == nil {
		next.M, next.Walk, next.Since = make([]float64, len(deltas)), make([]float64, len(deltas)), make([]time.Time, len(deltas))
	}
	if len(errors) > 0 {
		next.Slots++
		w := length.Hours() / Year.Hours() / float64(len(errors))
		for j, lambda := range d.lambdas() {
			for _, t := range errors {
				next.bet(j, 1+lambda*(t-d.P0), w, start)
			}
		}
	}
	r := SlotResult{Blocks: len(errors), Errors: errors, Evidence: next.Evidence()}
	r.Crossed = r.Evidence >= d.ThresholdYears
	r.Onset, _ = next.Onset()
	return next, r, nil
}

// bet moves component j by one block's factor.
func (s *State) bet(j int, factor, w float64, start time.Time) {
	s.M[j] = min(maxEvidence, (s.M[j]+w)*factor)
	if s.Walk[j] == 0 {
		s.Since[j] = start
	}
	if s.Walk[j] += math.Log(factor); s.Walk[j] <= 0 {
		s.Walk[j], s.Since[j] = 0, time.Time{}
	}
}

// Errors deals the slot's picks by the hash of their id into B blocks, B the
// smallest number of picks over the strata that have any, and returns T of
// each: the sum over strata of W_h times the mean loss of its picks there. Nil
// when nothing was picked.
//
// Strata picked completely are joined first: all of them have the sampling
// fraction 1, so together they are one stratum with one fraction, and a lone
// corrected image does not force a whole slot into one block.
func (slot Slot) Errors() []float64 {
	var total int
	strata := make([]SlotStratum, 0, len(slot.Strata)+1)
	var census SlotStratum
	for _, h := range slot.Strata {
		h.Predictions = max(h.Predictions, len(h.Picks))
		total += h.Predictions
		switch {
		case len(h.Picks) == 0:
		case h.Predictions == len(h.Picks):
			census.Predictions += h.Predictions
			census.Picks = append(census.Picks, h.Picks...)
		default:
			strata = append(strata, h)
		}
	}
	if len(census.Picks) > 0 {
		strata = append(strata, census)
	}
	if len(strata) == 0 {
		return nil
	}
	b := len(strata[0].Picks)
	for _, h := range strata {
		b = min(b, len(h.Picks))
	}
	t, loss := make([]float64, b), make([]float64, b)
	var cards []card
	for _, h := range strata {
		clear(loss)
		cards = deal(cards, h.Picks, b)
		for i, c := range cards {
			loss[i%b] += h.Picks[c.at].Loss
		}
		w := float64(h.Predictions) / float64(total)
		for i := range t {
			picks := len(h.Picks) / b // and one more for the first blocks
			if i < len(h.Picks)%b {
				picks++
			}
			t[i] += w * loss[i] / float64(picks)
		}
	}
	return t
}

// card is a pick in the hands of the dealer: its hash and its place.
type card struct {
	hash uint64
	at   int
}

// deal orders picks by the hash of their id, which knows nothing of the answer;
// cards are its workspace. With one block there is nothing to deal.
func deal(cards []card, picks []Pick, blocks int) []card {
	cards = cards[:0]
	if blocks == 1 {
		for i := range picks {
			cards = append(cards, card{at: i})
		}
		return cards
	}
	var buf [128]byte
	for i, p := range picks {
		sum := sha256.Sum256(append(append(buf[:0], "block\x00"...), p.ID...))
		cards = append(cards, card{binary.BigEndian.Uint64(sum[:]), i})
	}
	slices.SortFunc(cards, func(a, b card) int {
		if a.hash != b.hash {
			return cmp.Compare(a.hash, b.hash)
		}
		return cmp.Or(cmp.Compare(picks[a.at].ID, picks[b.at].ID), cmp.Compare(a.at, b.at))
	})
	return cards
}
