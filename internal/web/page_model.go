package web

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/evaluator"
	"driftgate/internal/network"
	"driftgate/internal/registry"
)

// modelPage is one version in full.
type modelPage struct {
	layout
	Ref      dg.ModelRef
	Short    string
	Role     string
	SavedAt  time.Time
	Champion bool // it serves
	Has      bool // a champion serves
	Report   evaluator.Report
	State    computing
	Trouble  string // why there is no report
	Suites   []suiteBox
	Ticks    []PlotTick // of the suites' accuracies
	Robust   []panel
	Curves   []panel
	Facts    []fact
	Concerns []concern
	Lineage  []LineageChart // wide, narrow
	Parent   string
	Moves    []moveBody
}

// computing is what a page knows of a figure that takes long.
type computing struct {
	Ready   bool // there is a figure
	Newer   bool // a newer one is under way
	At      time.Time
	Seconds int // that it is under way
}

func computingOf[T any](f found[T]) computing {
	c := computing{Ready: f.Has(), Newer: f.Computing, At: f.At}
	if f.Computing {
		c.Seconds = int(time.Since(f.Since).Seconds())
	}
	return c
}

// again is after how many seconds the page looks once more: soon while there is
// nothing to see, and never under the eyes of somebody who reads.
func (c computing) again() int {
	if c.Ready || !c.Newer {
		return 0
	}
	return 2
}

// panel is a small chart with its title.
type panel struct {
	Title string
	Chart XY
}

// fact is a name with its value.
type fact struct{ Name, Value string }

// concern is one of the things that a training set was made with an eye on.
type concern struct {
	Title, Meaning string
	Facts          []fact
}

func (s *server) getModel(c *gin.Context) {
	ctx := c.Request.Context()
	ref, err := s.d.Models.Resolve(ctx, c.Param("ref"))
	if err != nil {
		s.fail(c, err)
		return
	}
	entries, history, err := s.modelsAndHistory(ctx)
	if err != nil {
		s.fail(c, err)
		return
	}
	page := modelPage{layout: s.layout(c, "models", "Model "+ref.Short()), Ref: ref, Short: ref.Short(), Has: len(history) > 0}
	r, err := s.modelReport(ctx, ref, Over{c.Query("start"), c.Query("end")}, pagePatience)
	if err != nil {
		if statusOf(err) == http.StatusNotFound {
			s.fail(c, err)
			return
		}
		page.Trouble = problemOf(err, true).Detail
	}
	page.State = computingOf(r)
	page.Refresh = page.State.again()
	if r.Has() {
		page.Report = r.Value
		page.draw()
	}
	page.describe(entries, history)
	if page.Moves, err = s.movesOf(ctx, page.Short); err != nil {
		s.fail(c, err)
		return
	}
	s.page(c, http.StatusOK, "model", page)
}

// movesOf are the moves of one version, newest first.
func (s *server) movesOf(ctx context.Context, short string) ([]moveBody, error) {
	all, err := s.moves(ctx, 1000)
	if err != nil {
		return nil, err
	}
	var out []moveBody
	for _, m := range all {
		if m.Version == short && len(out) < shownMoves {
			out = append(out, m)
		}
	}
	return out, nil
}

// describe enters what the manifest and the history know.
func (p *modelPage) describe(entries []registry.Entry, history []dg.Champion) {
	g := lineageFrom(p.Ref, entries, history)
	letters := map[string]string{string(p.Ref): "A"}
	p.Lineage = []LineageChart{lineageOf(g, letters, 960), lineageOf(g, letters, 400)}
	i := slices.IndexFunc(entries, func(e registry.Entry) bool { return e.Ref == p.Ref })
	if i < 0 {
		return // its manifest cannot be read; the report says so
	}
	e := entries[i]
	p.Role, p.SavedAt, p.Champion, p.Parent = e.Role, e.SavedAt, e.Role == registry.RoleChampion, e.Manifest.Parent.Short()
	p.Curves = trainingCurves(e.Manifest.Curves)
	p.Concerns = concernsOf(e.Manifest.Composition)
	p.Facts = trainingFacts(e.Manifest)
}

// draw lays the report out.
func (p *modelPage) draw() {
	var values []float64
	for _, s := range p.Report.Suites {
		if s.Fault == "" && s.Samples > 0 {
			values = append(values, s.Accuracy.Lower, s.Accuracy.Upper)
			if s.Floor > 0 {
				values = append(values, s.Floor)
			}
		}
	}
	scale := scaleOf(5, values...)
	p.Ticks = scale.ticks()
	var words []string
	for i, s := range p.Report.Suites {
		b := suiteBoxOf(s, p.Report.Classes, scale)
		b.ID = fmt.Sprintf("suite-%d", i)
		p.Suites = append(p.Suites, b)
		if b.Has {
			words = append(words, fmt.Sprintf("%s %s (%s)", b.Title, percent(s.Accuracy.Value), bounds(s.Accuracy.Lower, s.Accuracy.Upper)))
		}
	}
	p.About = p.Short + ": " + strings.Join(words, "; ")
	p.Robust = robustness([]evaluator.Report{p.Report})
}

// suiteTitle says what a suite is.
func suiteTitle(s evaluator.Suite) string {
	switch s.Kind {
	case evaluator.KindHeldout:
		return "Held-out production"
	case evaluator.KindTest:
		return "Test set"
	}
	return s.Name
}

// robustness draws the curves of one version or of several, a panel a knob, all
// on one scale.
func robustness(reports []evaluator.Report) []panel {
	var knobs []string
	units := map[string]string{}
	low := 1.0
	for _, r := range reports {
		for _, k := range r.Robustness {
			if !slices.Contains(knobs, k.Knob) {
				knobs = append(knobs, k.Knob)
				units[k.Knob] = k.Unit
			}
			for _, p := range k.Points {
				low = min(low, p.Accuracy.Lower)
			}
		}
	}
	var out []panel
	for _, knob := range knobs {
		var curves []curve
		for i, r := range reports {
			c := curve{Name: letterOf(i), Class: versionClass(i), Banded: true}
			for _, k := range r.Robustness {
				if k.Knob != knob {
					continue
				}
				for _, p := range k.Points {
					c.Points = append(c.Points, curvePoint{X: p.Strength, Y: p.Accuracy.Value, Lower: p.Accuracy.Lower, Upper: p.Accuracy.Upper,
						Title: fmt.Sprintf("%s %.3g %s: %s (%s)", knob, p.Strength, k.Unit, percent(p.Accuracy.Value), bounds(p.Accuracy.Lower, p.Accuracy.Upper))})
				}
			}
			curves = append(curves, c)
		}
		out = append(out, panel{strings.ToUpper(knob[:1]) + knob[1:], drawXY(xyOptions{XName: units[knob], Percent: true, Low: min(low, .95), High: 1}, curves...)})
	}
	return out
}

// trainingCurves draws loss and accuracy over epochs.
func trainingCurves(epochs []network.Epoch) []panel {
	if len(epochs) < 2 {
		return nil
	}
	nan := math.NaN()
	get := func(name, class string, f func(network.Epoch) float64) curve {
		c := curve{Name: name, Class: class}
		for _, e := range epochs {
			if v := f(e); v != 0 {
				c.Points = append(c.Points, curvePoint{X: float64(e.Epoch), Y: v, Lower: nan, Upper: nan, Title: fmt.Sprintf("%s, epoch %d: %.4g", name, e.Epoch, v)})
			}
		}
		return c
	}
	return []panel{
		{"Loss", drawXY(xyOptions{XName: "epoch"}, get("training", "train", func(e network.Epoch) float64 { return e.TrainLoss }), get("validation", "valid", func(e network.Epoch) float64 { return e.ValidationLoss }))},
		{"Accuracy", drawXY(xyOptions{XName: "epoch", Percent: true}, get("training", "train", func(e network.Epoch) float64 { return e.TrainAccuracy }), get("validation", "valid", func(e network.Epoch) float64 { return e.ValidationAccuracy }))},
	}
}

// trainingFacts is what a manifest says in short.
func trainingFacts(m network.Manifest) []fact {
	out := []fact{{"Images", count(len(m.TrainedOn))}}
	for _, source := range slices.Sorted(maps.Keys(m.Counts)) {
		if n := m.Counts[source]; n > 0 {
			out = append(out, fact{"of them " + words(source), count(n)})
		}
	}
	if n := len(m.Skipped); n > 0 {
		out = append(out, fact{"Skipped", count(n)})
	}
	out = append(out, fact{"Dataset", m.Dataset}, fact{"Architecture", m.Spec.String()}, fact{"Epochs", strconv.Itoa(m.Epochs)}, fact{"Seed", strconv.FormatUint(m.Seed, 10)})
	for _, name := range slices.Sorted(maps.Keys(m.Metrics)) {
		out = append(out, fact{words(name), strconv.FormatFloat(m.Metrics[name], 'g', 4, 64)})
	}
	if d := m.FinishedAt.Sub(m.StartedAt); d > 0 {
		out = append(out, fact{"Took", span(d)})
	}
	if e := m.Environment; e != nil {
		machine := fmt.Sprintf("%s/%s, %d of %d CPUs", e.OS, e.Arch, e.Threads, e.CPUs)
		if e.Kernel != "" {
			machine += ", " + e.Kernel + " kernels"
		}
		out = append(out, fact{"Machine", machine})
	}
	return append(out, fact{"Go", m.GoVersion})
}

// concernsOf lays out the six concerns of a training set.
func concernsOf(c *network.Composition) []concern {
	if c == nil {
		return nil
	}
	out := []concern{
		{"Labelling", "whose labels it learned", flatFacts(c.Labelling)},
		{"Active learning", "which images were preferred", flatFacts(c.Active)},
		{"Label quality", "what was wrong with labels", nil},
		{"Augmentation", "how images were varied", flatFacts(c.Augmentation)},
		{"Sampling", "how many of each class", flatFacts(c.Sampling)},
		{"Evaluation", "what was kept back", flatFacts(c.Evaluation)},
	}
	quality := c.Quality
	quality.List = nil
	out[2].Facts = flatFacts(quality)
	if n := len(c.Quality.List); n > 0 {
		x := c.Quality.List[0]
		out[2].Facts = append(out[2].Facts, fact{"surest suspect", fmt.Sprintf("%s: %s, looks like %s (%s), %s", clip(x.ID, 60), x.Label, x.Looks, percent(x.Confidence), x.Action)})
	}
	return append([]concern{{"Start", "what training began from", flatFacts(c.Start)}}, out...)
}

// maxFacts bounds the facts of one concern.
const maxFacts = 24

// flatFacts lists the fields of an account that say something.
func flatFacts(v any) []fact {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var out []fact
	var walk func(name string, raw json.RawMessage)
	walk = func(name string, raw json.RawMessage) {
		var object map[string]json.RawMessage
		if json.Unmarshal(raw, &object) == nil && object != nil {
			for _, key := range slices.Sorted(maps.Keys(object)) {
				walk(strings.TrimSpace(name+" "+words(key)), object[key])
			}
			return
		}
		text := strings.Trim(string(raw), `"`)
		var list []any
		if json.Unmarshal(raw, &list) == nil && list != nil {
			parts := make([]string, len(list))
			for i, x := range list {
				parts[i] = fmt.Sprint(x)
				if f, ok := x.(float64); ok {
					parts[i] = strconv.FormatFloat(f, 'g', 3, 64)
				}
			}
			text = strings.Join(parts, ", ")
		} else if f, err := strconv.ParseFloat(text, 64); err == nil && f != math.Trunc(f) {
			text = strconv.FormatFloat(f, 'g', 4, 64)
		}
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			text = clock(at)
		}
		if text == "" || text == "0" || text == "null" || text == "false" || len(out) >= maxFacts {
			return
		}
		out = append(out, fact{name, clip(text, 200)})
	}
	walk("", raw)
	return out
}

// lineageFrom is the lineage of one version, from what the registry lists.
func lineageFrom(ref dg.ModelRef, entries []registry.Entry, history []dg.Champion) evaluator.Lineage {
	var g evaluator.Lineage
	of := map[dg.ModelRef]network.Manifest{}
	for _, e := range entries {
		of[e.Ref] = e.Manifest
	}
	seen := map[string]bool{}
	node := func(n evaluator.Node) {
		if !seen[n.ID] {
			seen[n.ID] = true
			g.Nodes = append(g.Nodes, n)
		}
	}
	for at := ref; at != "" && !seen[string(at)] && len(seen) < 100; {
		m, ok := of[at]
		if !ok {
			node(evaluator.Node{ID: string(at), Kind: evaluator.NodeVersion, Title: at.Short(), Detail: "no longer there"})
			break
		}
		node(evaluator.Node{ID: string(at), Kind: evaluator.NodeVersion, Title: at.Short(), Detail: cmp.Or(m.FinishedAt, m.StartedAt).UTC().Format(dg.TimeFormat)})
		if m.Dataset != "" {
			node(evaluator.Node{ID: "dataset/" + m.Dataset, Kind: evaluator.NodeDataset, Title: m.Dataset, Detail: plural(m.Counts["base"], "image", "images")})
			g.Edges = append(g.Edges, evaluator.Edge{From: "dataset/" + m.Dataset, To: string(at), Kind: "trained on"})
		}
		if human, proxy := m.Counts["human"], m.Counts["proxy"]; human+proxy > 0 {
			node(evaluator.Node{ID: "labels/" + string(at), Kind: evaluator.NodeLabels, Title: plural(human+proxy, "label", "labels"), Detail: fmt.Sprintf("%d by people, %d by the model", human, proxy)})
			g.Edges = append(g.Edges, evaluator.Edge{From: "labels/" + string(at), To: string(at), Kind: "trained on"})
		}
		if m.Parent != "" {
			g.Edges = append(g.Edges, evaluator.Edge{From: string(m.Parent), To: string(at), Kind: "parent of"})
		}
		at = m.Parent
	}
	for _, c := range slices.Backward(history) {
		if seen[string(c.Version)] {
			id := fmt.Sprintf("generation/%d", c.Generation)
			node(evaluator.Node{ID: id, Kind: evaluator.NodeDeployment, Title: fmt.Sprintf("generation %d", c.Generation)})
			g.Edges = append(g.Edges, evaluator.Edge{From: string(c.Version), To: id, Kind: "deployed as"})
		}
	}
	return g
}
