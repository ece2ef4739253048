package estimate

import (
	"cmp"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
)

// MaxOpen is the largest share of a slot's predictions that may lie in reasons
// without any label before the slot gives no blocks.
const MaxOpen = .05

// DifferenceStratum is one stratum of a closed slot: reason x curate interval.
type DifferenceStratum struct {
	Group       string           // the reason
	Predictions int              // N_h; less than the picks is taken as their number
	Fraction    float64          // chance of being picked for labelling, 0 to 1
	Picks       []DifferencePick // the labelled ones that both models answered
}

// DifferencePick is one labelled sample answered by two models.
type DifferencePick struct {
	ID         string  // the sample's identity: its hash deals it to a block
	Difference float64 // the second model's error less the first's, -1 to 1
}

// DealDifferences turns one closed slot into the blocks that [Harm] bets on.
// Their mean is the slot's weighted difference, the sum over strata of W_h times
// the mean difference of its labelled picks, to the last digit; each lies within
// ±[MaxBlock], and there are as many as that allows, because evidence from
// differences within ±1 grows with the number of blocks.
//
// Each pick weighs W_h/m_h. B is about one over the largest weight; picks are
// dealt heaviest first, ties by the hash of their id, each to the lightest block
// so far, and a block is B times the sum of its weighted differences. So a lone
// corrected image does not force a slot into one block, as it would if every
// block held some of every stratum. The deal knows ids, strata and counts only.
//
// Unlabelled picks are taken as missing at random within their stratum. A
// stratum without a labelled pick joins the one of its reason whose fraction is
// nearest; the reasons without any, open of all predictions (0 to 1), count as no
// difference, which is not known: above [MaxOpen] there are no blocks, and the
// slot should be judged together with the next. That looks at counts only, so it
// costs no validity. Below, the promise is about the reasons that have labels.
func DealDifferences(strata []DifferenceStratum) (blocks []float64, open float64) {
	cells, total := joinOpen(strata)
	if total == 0 {
		return nil, 1
	}
	var cards []weighed
	for _, h := range cells {
		share := float64(h.Predictions) / total
		if len(h.Picks) == 0 {
			open += share
			continue
		}
		for _, p := range h.Picks {
			sum := sha256.Sum256(append([]byte("difference\x00"), p.ID...))
			cards = append(cards, weighed{p, share / float64(len(h.Picks)), binary.BigEndian.Uint64(sum[:])})
		}
	}
	if len(cards) == 0 || open > MaxOpen {
		return nil, open
	}
	slices.SortFunc(cards, func(a, b weighed) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.hash, b.hash), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Difference, b.Difference))
	})
	for n := min(len(cards), int(1/cards[0].weight+1e-9)); ; n = min(n-1, n*15/16) {
		if blocks, ok := pack(cards, max(1, n)); ok || n <= 1 {
			return blocks, open
		}
	}
}

// weighed is a pick with its share of the slot.
type weighed struct {
	DifferencePick
	weight float64
	hash   uint64
}

// joinOpen joins strata without picks to their neighbours, and totals.
func joinOpen(strata []DifferenceStratum) (cells []DifferenceStratum, total float64) {
	groups := map[string][]DifferenceStratum{}
	for _, h := range strata {
		h.Predictions = max(h.Predictions, len(h.Picks))
		total += float64(h.Predictions)
		if h.Predictions > 0 {
			groups[h.Group] = append(groups[h.Group], h)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		group := groups[name]
		var full, bare []DifferenceStratum
		for _, h := range group {
			if len(h.Picks) > 0 {
				full = append(full, h)
			} else {
				bare = append(bare, h)
			}
		}
		if len(full) == 0 {
			cells = append(cells, bare...)
			continue
		}
		for _, h := range bare {
			near := 0
			for i := range full {
				if distance(full[i], h) < distance(full[near], h) {
					near = i
				}
			}
			full[near].Predictions += h.Predictions
		}
		cells = append(cells, full...)
	}
	return cells, total
}

func distance(a, b DifferenceStratum) float64 {
	return max(a.Fraction-b.Fraction, b.Fraction-a.Fraction)
}

// pack deals cards into n blocks and reports whether each keeps within MaxBlock
// whatever the answers.
func pack(cards []weighed, n int) (blocks []float64, ok bool) {
	piles := make(piles, n)
	for i := range piles {
		piles[i].at = i
	}
	blocks = make([]float64, n)
	for _, c := range cards {
		p := &piles[0] // the lightest
		p.load += c.weight
		blocks[p.at] += float64(n) * c.weight * c.Difference
		if p.load*float64(n) > MaxBlock {
			return nil, false
		}
		heap.Fix(&piles, 0)
	}
	return blocks, true
}

// piles is a heap of blocks by their load.
type piles []struct {
	load float64
	at   int
}

func (p piles) Len() int { return len(p) }
func (p piles) Less(i, j int) bool {
	return p[i].load < p[j].load || p[i].load == p[j].load && p[i].at < p[j].at
}
func (p piles) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *piles) Push(any)     {}
func (p *piles) Pop() any     { return nil }
