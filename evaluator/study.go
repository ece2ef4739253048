package evaluator

import (
	"context"
	"fmt"
	"slices"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// Study is two or more versions on the same samples: those that none of them
// was trained on.
type Study struct {
	Interval  dg.Interval  `json:"interval"`
	Versions  []Report     `json:"versions"`  // in the order asked for, on the common samples
	Pairs     []PairStudy  `json:"pairs"`     // each version with each later one
	Agreement []Agreement  `json:"agreement"` // a suite each
	Training  []Difference `json:"training"`  // what differs between what they learned from
	Overlap   [][]int      `json:"overlap"`   // production samples that both learned from, version x version
	Lineage   Lineage      `json:"lineage"`
	Notes     []string     `json:"notes"`
}

// PairStudy is a version (the champion of the comparison) against a later one,
// suite by suite.
type PairStudy struct {
	A          dg.ModelRef   `json:"a"`
	B          dg.ModelRef   `json:"b"`
	Comparison dg.Comparison `json:"comparison"` // what the gate says of B as challenger of A
	Suites     []SuitePair   `json:"suites"`
}

// SuitePair is two versions on one suite. Differences are B less A, -1 to 1.
type SuitePair struct {
	Suite      string      `json:"suite"`
	BothRight  int         `json:"both_right"`
	OnlyA      int         `json:"only_a"`
	OnlyB      int         `json:"only_b"`
	BothWrong  int         `json:"both_wrong"`
	Difference Bounded     `json:"difference"` // of accuracy, weighted, at 95% by itself
	Parts      []PartDelta `json:"parts"`      // classes and slices; their intervals hold at once for all of them
	Fault      string      `json:"fault,omitempty"`
}

// PartDelta is the difference on a part of a suite.
type PartDelta struct {
	By          string  `json:"by"`    // the attribute: "class", "brightness", ... (never confidence, which differs between the versions)
	Value       string  `json:"value"` // the class, ...
	Share       float64 `json:"share"` // of all predictions that the suite stands for
	A           float64 `json:"a"`     // accuracy of A on the part
	B           float64 `json:"b"`
	Difference  Bounded `json:"difference"`  // B less A; simultaneous over all parts of the suite
	Significant bool    `json:"significant"` // the simultaneous interval leaves 0 out
	OnlyA       int     `json:"only_a"`
	OnlyB       int     `json:"only_b"`
}

// Agreement is how often versions give the same answer, right or wrong.
type Agreement struct {
	Suite   string      `json:"suite"`
	Samples int         `json:"samples"`
	Shares  [][]float64 `json:"shares"` // weighted, version x version; 1 on the diagonal
	Counts  [][]int     `json:"counts"` // samples on which they agree
}

// Difference is one thing in which trainings differ.
type Difference struct {
	What   string   `json:"what"`   // "counts.human", "options.learning_rate", "dataset", ...
	Values []string `json:"values"` // a version each; empty where it has none
}

// Lineage is where versions come from and what became of them: a graph without
// circles.
type Lineage struct {
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
}

// Node is one thing in a lineage.
type Node struct {
	ID     string `json:"id"`   // unique in the graph
	Kind   string `json:"kind"` // NodeDataset, NodeLabels, NodeVersion, NodeDeployment
	Title  string `json:"title"`
	Detail string `json:"detail,omitempty"`
}

// The kinds of node.
const (
	NodeDataset    = "dataset"    // a base dataset
	NodeLabels     = "labels"     // the production samples that a version learned from
	NodeVersion    = "version"    // an artifact
	NodeDeployment = "deployment" // a generation of the champion record
)

// Edge leads from a node to what was made of it.
type Edge struct {
	From string `json:"from"`
	To   string `json:"to"`
	Kind string `json:"kind"` // "trained on", "parent of", "deployed as", "followed by"
}

// maxVersions bounds a study: its pairs grow with the square.
const maxVersions = 8

// Study compares 2 to 8 versions on the suites of [Evaluator.Report], each cut
// to the samples that none of them was trained on. Errors are those of Judge and
// Report, and [dg.ErrInvalid] for another number of versions and for versions of
// different class lists.
func (e *Evaluator) Study(ctx context.Context, refs []dg.ModelRef, iv dg.Interval) (Study, error) {
	if len(refs) < 2 || len(refs) > maxVersions {
		return Study{}, fmt.Errorf("evaluator: study of %d versions: want 2 to %d: %w", len(refs), maxVersions, dg.ErrInvalid)
	}
	vs, err := e.load(ctx, refs...)
	if err != nil {
		return Study{}, err
	}
	out := Study{Interval: iv, Notes: []string{}}
	var sheets []*sheet
	if out.Versions, sheets, err = e.reports(ctx, vs, iv); err != nil {
		return Study{}, fmt.Errorf("evaluator: study of %s: %w", names(vs), err)
	}
	for a := range vs {
		for b := a + 1; b < len(vs); b++ {
			out.Pairs = append(out.Pairs, e.pairStudy(out.Versions, sheets, vs, a, b))
		}
	}
	for _, sh := range sheets {
		out.Agreement = append(out.Agreement, sh.agreement())
	}
	out.Training, out.Overlap = trainingDifferences(vs), overlap(vs)
	if out.Lineage, err = e.lineage(ctx, vs); err != nil {
		return Study{}, fmt.Errorf("evaluator: lineage of %s: %w", names(vs), err)
	}
	for _, sh := range sheets {
		out.Notes = append(out.Notes, sh.notes...)
	}
	return out, nil
}

// pairStudy is version a against version b on every suite.
func (e *Evaluator) pairStudy(reports []Report, sheets []*sheet, vs []*version, a, b int) PairStudy {
	p := PairStudy{A: vs[a].ref, B: vs[b].ref}
	var trials []Trial
	for _, r := range reports[a].Suites {
		if r.Fault != "" {
			trials = append(trials, Trial{Suite: r.Name, Fault: r.Fault})
			p.Suites = append(p.Suites, SuitePair{Suite: r.Name, Parts: []PartDelta{}, Fault: r.Fault})
			continue
		}
		sh := sheets[slices.IndexFunc(sheets, func(sh *sheet) bool { return sh.Name == r.Name })]
		trials = append(trials, Trial{Suite: r.Name, Pairs: sh.pairs(a, b), Population: sh.population})
		p.Suites = append(p.Suites, sh.pair(a, b))
	}
	p.Comparison = e.o.Gate.Judge(trials)
	p.Comparison.Champion, p.Comparison.Challenger = p.A, p.B
	return p
}

// pair is version a against version b on the suite, whole and by parts.
func (sh *sheet) pair(a, b int) SuitePair {
	out := SuitePair{Suite: sh.Name, Parts: []PartDelta{}, Difference: Bounded{Lower: -1, Upper: 1}}
	pairs := slices.DeleteFunc(sh.pairs(a, b), func(p Pair) bool { return !p.complete() })
	for _, p := range pairs {
		champion, challenger := p.Champion == p.Label, p.Challenger == p.Label
		switch {
		case champion && challenger:
			out.BothRight++
		case champion:
			out.OnlyA++
		case challenger:
			out.OnlyB++
		default:
			out.BothWrong++
		}
	}
	s := weigh(pairs, sh.weighing())
	d, err := estimate.PairedDifference(s.all())
	if err != nil {
		return out // no pairs
	}
	out.Difference = Bounded{d.Difference, d.Lower, d.Upper, d.Pairs}
	if sh.cut == nil { // the same for every two versions
		sh.cut = sh.parts(s, len(pairs))
	}
	for _, part := range sh.cut {
		if delta, ok := part.delta(s, alpha/float64(len(sh.cut))); ok {
			out.Parts = append(out.Parts, delta)
		}
	}
	return out
}

// minPart is the number of samples below which a part is not looked at: every
// part that is widens the intervals of the others.
const minPart = 20

// part is the samples that share an attribute.
type part struct {
	Attribute
	ids   map[string]bool
	share float64 // of all predictions
}

// parts lists the parts of a suite that are worth a look, those of one
// attribute together, in order; confidence is not among them, as it differs
// between versions.
func (sh *sheet) parts(s strata, whole int) []part {
	at := map[Attribute]map[string]bool{}
	for i, s := range sh.samples {
		if !sh.complete(i) {
			continue
		}
		for _, a := range sh.attributes(i) {
			if at[a] == nil {
				at[a] = map[string]bool{}
			}
			at[a][s.id] = true
		}
	}
	out := []part{}
	for _, by := range []string{ByClass, BySource, ByBrightness, BySize, ByTime} {
		from := len(out)
		for a, ids := range at {
			if a.By == by && len(ids) >= minPart && len(ids) < whole {
				out = append(out, part{a, ids, s.share(func(p Pair) bool { return ids[p.ID] })})
			}
		}
		slices.SortFunc(out[from:], func(x, y part) int {
			if by == ByClass {
				return sh.classes.Index(x.Value) - sh.classes.Index(y.Value)
			}
			return compareText(x.Value, y.Value)
		})
	}
	return out
}

// delta is the difference on the part, with bounds at 1-alpha. Shares are of
// all predictions and then divided by the part's, so that hard images weigh no
// more here than anywhere.
func (p part) delta(s strata, alpha float64) (PartDelta, bool) {
	in := func(x Pair) bool { return p.ids[x.ID] }
	d, err := estimate.PairedDifferenceAt(s.tally(in), alpha)
	share := p.share
	if err != nil || share <= 0 {
		return PartDelta{}, false
	}
	out := PartDelta{By: p.By, Value: p.Value, Share: share, A: min(1, d.Champion/share), B: min(1, d.Challenger/share),
		Difference: Bounded{max(-1, min(1, d.Difference/share)), max(-1, d.Lower/share), min(1, d.Upper/share), len(p.ids)}, Significant: d.Lower > 0 || d.Upper < 0}
	for _, k := range s.keys {
		for _, x := range s.pairs[k] {
			if champion, challenger := x.Champion == x.Label, x.Challenger == x.Label; in(x) && champion != challenger {
				if champion {
					out.OnlyA++
				} else {
					out.OnlyB++
				}
			}
		}
	}
	return out, true
}

// agreement is how often each two versions say the same.
func (sh *sheet) agreement() Agreement {
	n := len(sh.answers)
	out := Agreement{Suite: sh.Name, Samples: sh.Samples, Shares: make([][]float64, n), Counts: make([][]int, n)}
	total := sh.total()
	for a := range n {
		out.Shares[a], out.Counts[a] = make([]float64, n), make([]int, n)
		for b := range n {
			for i, w := range sh.weights {
				if w > 0 && sh.answers[a][i].class == sh.answers[b][i].class {
					out.Counts[a][b]++
					out.Shares[a][b] += w / total
				}
			}
			out.Shares[a][b] = min(1, out.Shares[a][b])
		}
	}
	return out
}
