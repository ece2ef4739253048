package web

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	dg "driftgate"
	"driftgate/evaluator"
)

// LineageChart is where versions come from, as a list with its branches drawn
// beside it: oldest on top, a line from each parent to its child.
type LineageChart struct {
	Width, Height float64
	TextX         float64
	Rows          []LineageRow
	Edges         []LineageEdge
	Left          int // nodes beyond those shown
}

// LineageRow is a dataset or a version with what is known of it.
type LineageRow struct {
	X, Y    float64
	Kind    string // evaluator.NodeDataset or NodeVersion
	Title   string
	Link    string // of a version that is there
	Letter  string // of a version in the comparison
	Class   string // its colour
	Details []Tick // lines of text, each at its y
}

// LineageEdge is one line. Kind is "parent" or "data".
type LineageEdge struct{ Path, Kind string }

const (
	lineageRow  = 78.0
	lineageLane = 26.0
	maxLineage  = 24 // rows
)

// lineageOf lays a lineage out. letters names the versions of the comparison.
func lineageOf(g evaluator.Lineage, letters map[string]string, width float64) LineageChart {
	by := map[string]evaluator.Node{}
	for _, n := range g.Nodes {
		by[n.ID] = n
	}
	rows := orderOf(g, by)
	c := LineageChart{Width: width}
	if len(rows) > maxLineage {
		c.Left = len(rows) - maxLineage
		rows = rows[c.Left:]
	}
	y, lane := map[string]float64{}, lanes(g, rows)
	deepest := 0
	for i, n := range rows {
		y[n.ID] = 26 + float64(i)*lineageRow
		deepest = max(deepest, lane[n.ID])
	}
	x := func(id string) float64 { return 16 + float64(lane[id])*lineageLane }
	c.TextX, c.Height = 16+float64(deepest)*lineageLane+26, float64(len(rows))*lineageRow
	for _, e := range g.Edges {
		from, okFrom := y[e.From]
		to, okTo := y[e.To]
		if !okFrom || !okTo || to <= from {
			continue
		}
		kind := "parent"
		if by[e.From].Kind == evaluator.NodeDataset {
			kind = "data"
		}
		x1, x2 := x(e.From), x(e.To)
		bend := to - 30
		c.Edges = append(c.Edges, LineageEdge{fmt.Sprintf("M%g %gV%gC%g %g %g %g %g %g", x1, from, bend, x1, to-8, x2, bend+8, x2, to), kind})
	}
	for _, n := range rows {
		r := LineageRow{X: x(n.ID), Y: y[n.ID], Kind: n.Kind, Title: n.Title, Letter: letters[n.ID]}
		if r.Letter != "" {
			r.Class = versionClass(int(r.Letter[0] - 'A'))
		}
		for k, text := range detailsOf(g, by, n) {
			r.Details = append(r.Details, Tick{r.Y + 20 + float64(k)*15, clipRunes(text, int((width-c.TextX)/6.2))})
		}
		if n.Kind == evaluator.NodeVersion && n.Detail != "no longer there" {
			r.Link = "/models/" + n.Title
		}
		c.Rows = append(c.Rows, r)
	}
	return c
}

// clipRunes cuts a text that would leave its picture.
func clipRunes(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:max(n-1, 0)]) + "…"
	}
	return text
}

// versionClass is the colour of the version at a position of a comparison.
func versionClass(i int) string { return fmt.Sprintf("v%d", i%maxCompared) }

// letterOf names the version at a position of a comparison: A, B, ...
func letterOf(i int) string { return string(rune('A' + i%26)) }

// detailsOf says in a few lines what is known of a node.
func detailsOf(g evaluator.Lineage, by map[string]evaluator.Node, n evaluator.Node) (out []string) {
	if n.Kind == evaluator.NodeDataset {
		return []string{n.Detail}
	}
	var learned, served []string
	for _, e := range g.Edges {
		if from := by[e.From]; e.To == n.ID && from.Kind == evaluator.NodeLabels {
			learned = append(learned, from.Title+": "+from.Detail)
		}
		if to := by[e.To]; e.From == n.ID && to.Kind == evaluator.NodeDeployment {
			served = append(served, strings.TrimPrefix(to.Title, "generation "))
		}
	}
	if made, err := time.Parse(dg.TimeFormat, n.Detail); err != nil {
		out = append(out, n.Detail)
	} else if !made.IsZero() {
		out = append(out, "made "+clock(made))
	}
	out = append(out, learned...)
	if len(served) > 0 {
		word := "generation "
		if len(served) > 1 {
			word = "generations "
		}
		out = append(out, "served as "+word+strings.Join(served, ", "))
	}
	return out
}

// orderOf lists datasets and versions so that each comes after what it was made
// of, older ones first.
func orderOf(g evaluator.Lineage, by map[string]evaluator.Node) []evaluator.Node {
	var left []evaluator.Node
	for _, n := range g.Nodes {
		if n.Kind == evaluator.NodeDataset || n.Kind == evaluator.NodeVersion {
			left = append(left, n)
		}
	}
	slices.SortStableFunc(left, func(a, b evaluator.Node) int {
		when := func(n evaluator.Node) string {
			if n.Kind == evaluator.NodeDataset || n.Detail == "no longer there" {
				return ""
			}
			return n.Detail
		}
		return cmp.Or(cmp.Compare(when(a), when(b)), cmp.Compare(a.Kind, b.Kind))
	})
	var out []evaluator.Node
	placed := map[string]bool{}
	free := func(n evaluator.Node) bool {
		for _, e := range g.Edges {
			if k := by[e.From].Kind; e.To == n.ID && !placed[e.From] && (k == evaluator.NodeVersion || k == evaluator.NodeDataset) {
				return false
			}
		}
		return true
	}
	for len(left) > 0 {
		i := max(slices.IndexFunc(left, free), 0) // a circle, which cannot be, would be cut
		out, placed[left[i].ID] = append(out, left[i]), true
		left = slices.Delete(left, i, i+1)
	}
	return out
}

// lanes gives each row its column: datasets the first, a version its parent's
// unless a sibling has that already.
func lanes(g evaluator.Lineage, rows []evaluator.Node) map[string]int {
	lane, taken, next := map[string]int{}, map[string]bool{}, 1
	for _, n := range rows {
		if n.Kind == evaluator.NodeDataset {
			continue // 0
		}
		at := -1
		for _, e := range g.Edges {
			if from, ok := lane[e.From]; ok && e.To == n.ID && e.Kind == "parent of" && !taken[e.From] {
				at, taken[e.From] = from, true
			}
		}
		if at < 0 {
			at, next = min(next, 6), next+1
		}
		lane[n.ID] = at
	}
	return lane
}
