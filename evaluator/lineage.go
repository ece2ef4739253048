package evaluator

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	dg "driftgate"
	"driftgate/internal/network"
)

func compareText(a, b string) int { return cmp.Compare(a, b) }

// flat flattens a JSON object: nested keys are joined by dots, values are JSON.
// What is no object has no keys.
func flat(raw json.RawMessage) map[string]string {
	out := map[string]string{}
	var walk func(prefix string, raw json.RawMessage)
	walk = func(prefix string, raw json.RawMessage) {
		var object map[string]json.RawMessage
		if json.Unmarshal(raw, &object) == nil && object != nil {
			for key, value := range object {
				walk(strings.TrimPrefix(prefix+"."+key, "."), value)
			}
			return
		}
		if prefix != "" {
			var compact bytes.Buffer
			if json.Compact(&compact, raw) == nil {
				out[prefix] = compact.String()
			}
		}
	}
	walk("", raw)
	return out
}

// facts is what a manifest tells of a training, flat.
func facts(m network.Manifest) map[string]string {
	out := map[string]string{
		"dataset": m.Dataset, "parent": m.Parent.Short(), "seed": strconv.FormatUint(m.Seed, 10), "epochs": strconv.Itoa(m.Epochs),
		"go_version": m.GoVersion, "skipped": strconv.Itoa(len(m.Skipped)), "trained_on": strconv.Itoa(len(m.TrainedOn)),
		"spec": m.Spec.String(), "production": strconv.Itoa(len(production(m))), "temperature": strconv.FormatFloat(m.Calibration.Temperature, 'g', 6, 64),
	}
	for name, n := range m.Counts {
		out["counts."+name] = strconv.Itoa(n)
	}
	for name, x := range m.Metrics {
		out["metrics."+name] = strconv.FormatFloat(x, 'g', 6, 64)
	}
	for key, value := range flat(m.Options) {
		out["options."+key] = value
	}
	if c := m.Composition; c != nil {
		account := *c
		account.Quality.List = nil // single images: the page of the version has them
		if raw, err := json.Marshal(account); err == nil {
			for key, value := range flat(raw) {
				out["composition."+key] = value
			}
		}
	}
	return out
}

// trainingDifferences lists in what trainings differ, by name.
func trainingDifferences(vs []*version) []Difference {
	all := map[string]bool{}
	of := make([]map[string]string, len(vs))
	for i, v := range vs {
		of[i] = facts(v.Manifest)
		for what := range of[i] {
			all[what] = true
		}
	}
	out := []Difference{}
	for _, what := range slices.Sorted(maps.Keys(all)) {
		d := Difference{What: what, Values: make([]string, len(vs))}
		for i := range vs {
			d.Values[i] = of[i][what]
		}
		if slices.ContainsFunc(d.Values, func(x string) bool { return x != d.Values[0] }) {
			out = append(out, d)
		}
	}
	return out
}

// overlap counts the production samples that each two versions both learned
// from; on the diagonal, all of one's.
func overlap(vs []*version) [][]int {
	sets := make([]map[string]bool, len(vs))
	for i, v := range vs {
		sets[i] = map[string]bool{}
		for _, id := range production(v.Manifest) {
			sets[i][id] = true
		}
	}
	out := make([][]int, len(vs))
	for i := range vs {
		out[i] = make([]int, len(vs))
		for j := range vs {
			for id := range sets[i] {
				if sets[j][id] {
					out[i][j]++
				}
			}
		}
	}
	return out
}

// maxAncestors bounds how far back a lineage is followed.
const maxAncestors = 16

// lineage follows versions back to their datasets and forward to where they
// served. A parent that is gone stands there without its origins.
func (e *Evaluator) lineage(ctx context.Context, vs []*version) (Lineage, error) {
	var g graph
	known := map[dg.ModelRef]bool{}
	for _, v := range vs {
		known[v.ref] = true
		g.version(v.ref, v.Manifest)
	}
	for _, v := range vs {
		ref := v.Manifest.Parent
		for range maxAncestors {
			if ref == "" || known[ref] {
				break
			}
			known[ref] = true
			a, err := e.Models.Load(ctx, ref)
			if permanent(err) {
				g.node(Node{string(ref), NodeVersion, ref.Short(), "no longer there"})
				break
			} else if err != nil {
				return Lineage{}, err
			}
			g.version(ref, a.Manifest)
			ref = a.Manifest.Parent
		}
	}
	history, err := e.Models.History(ctx)
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		return Lineage{}, err
	}
	last := ""
	for _, c := range history {
		if !known[c.Version] {
			last = ""
			continue
		}
		id := fmt.Sprintf("generation/%d", c.Generation)
		g.node(Node{id, NodeDeployment, fmt.Sprintf("generation %d", c.Generation), c.PromotedAt.UTC().Format(dg.TimeFormat) + ", " + c.Reason})
		g.edge(string(c.Version), id, "deployed as")
		if last != "" {
			g.edge(last, id, "followed by")
		}
		last = id
	}
	return Lineage(g), nil
}

// graph grows a lineage.
type graph Lineage

func (g *graph) node(n Node) {
	if !slices.ContainsFunc(g.Nodes, func(x Node) bool { return x.ID == n.ID }) {
		g.Nodes = append(g.Nodes, n)
	}
}

func (g *graph) edge(from, to, kind string) { g.Edges = append(g.Edges, Edge{from, to, kind}) }

// version enters an artifact with what it was made of.
func (g *graph) version(ref dg.ModelRef, m network.Manifest) {
	g.node(Node{string(ref), NodeVersion, ref.Short(), m.FinishedAt.UTC().Format(dg.TimeFormat)})
	if m.Dataset != "" {
		g.node(Node{"dataset/" + m.Dataset, NodeDataset, m.Dataset, fmt.Sprintf("%d samples", m.Counts["base"])})
		g.edge("dataset/"+m.Dataset, string(ref), "trained on")
	}
	if human, proxy := m.Counts["human"], m.Counts["proxy"]; human+proxy > 0 {
		detail := fmt.Sprintf("%d by people, %d by the model", human, proxy)
		if c := m.Composition; c != nil && c.Labelling.Interval != nil {
			detail += ", " + c.Labelling.Interval.String()
		}
		g.node(Node{"labels/" + string(ref), NodeLabels, fmt.Sprintf("%d labels", human+proxy), detail})
		g.edge("labels/"+string(ref), string(ref), "trained on")
	}
	if m.Parent != "" {
		g.edge(string(m.Parent), string(ref), "parent of")
	}
}
