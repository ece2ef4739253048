package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/evaluator"
)

// comparePage is two or more versions side by side.
type comparePage struct {
	layout
	Models   []modelBody // to choose from
	Chosen   []string    // as asked for
	Versions []versionHead
	State    computing
	Trouble  string // why there is no comparison
	Study    evaluator.Study
	Pairs    []pairChoice
	Pair     pairBox
	Gallery  galleryBox
	Heads    []suiteHead
	Robust   []panel
	Calib    []panel
	Agree    []agreeTable
	Training []trainingGroup
	Lineage  []LineageChart
	Overlap  string
	Champion dg.ModelRef
}

// versionHead is one version of a comparison.
type versionHead struct {
	Letter, Class, Short, Role string
	Report                     evaluator.Report
}

// suiteHead is one suite with the accuracy of every version on it.
type suiteHead struct {
	evaluator.Suite
	Title string
	Cells []suiteCell
}

type suiteCell struct {
	Class, Letter string
	Plot          Plot
	Accuracy      evaluator.Bounded
	Has           bool
}

// pairChoice is one pair among several.
type pairChoice struct {
	Name, Link string
	Current    bool
}

// address is the page's own with the versions in it and further parameters.
func (p comparePage) address(more ...string) string {
	var parts []string
	for i, short := range p.Chosen {
		parts = append(parts, string(rune('a'+i))+"="+url.QueryEscape(short))
	}
	for i := 0; i+1 < len(more); i += 2 {
		parts = append(parts, more[i]+"="+url.QueryEscape(more[i+1]))
	}
	return "/models/compare?" + strings.Join(parts, "&")
}

// compareChosen reads which versions a request compares: a, b, c, ... or v of
// the ticked ones.
func compareChosen(c *gin.Context) (chosen []string, ticked bool) {
	if v := c.QueryArray("v"); len(v) > 0 {
		return v, true
	}
	for i := range maxCompared {
		if text := c.Query(string(rune('a' + i))); text != "" {
			chosen = append(chosen, text)
		}
	}
	return chosen, false
}

func (s *server) getCompare(c *gin.Context) {
	ctx := c.Request.Context()
	page := comparePage{layout: s.layout(c, "models", "Compare")}
	entries, _, err := s.modelsAndHistory(ctx)
	if err != nil {
		s.fail(c, err)
		return
	}
	champion, _, err := s.champion(ctx)
	if err != nil {
		s.fail(c, err)
		return
	}
	page.Models, page.Champion = choices(entries), champion.Version
	chosen, ticked := compareChosen(c)
	if ticked {
		if slices.Reverse(chosen); slices.Contains(chosen, champion.Version.Short()) { // oldest first, the champion before all
			chosen = append([]string{champion.Version.Short()}, slices.DeleteFunc(chosen, func(x string) bool { return x == champion.Version.Short() })...)
		}
		page.Chosen = chosen[:min(len(chosen), maxCompared)]
		c.Redirect(http.StatusSeeOther, page.address())
		return
	}
	if page.Chosen = chosen; len(chosen) < 2 {
		s.page(c, http.StatusOK, "compare", page)
		return
	}
	status := http.StatusOK
	if err := s.fillCompare(c, &page); err != nil {
		if status = statusOf(err); status >= 500 || errors.Is(err, dg.ErrNotFound) {
			s.fail(c, err)
			return
		}
		page.Trouble = problemOf(err, true).Detail
	}
	s.page(c, status, "compare", page)
}

// fillCompare asks for the study and, once it is there, for the gallery.
func (s *server) fillCompare(c *gin.Context, page *comparePage) error {
	ctx := c.Request.Context()
	refs, err := s.resolveAll(ctx, page.Chosen)
	if err != nil {
		return err
	}
	for i, ref := range refs {
		v := versionHead{Letter: letterOf(i), Class: versionClass(i), Short: ref.Short()}
		for _, m := range page.Models {
			if m.Ref == ref {
				v.Role = m.Role
			}
		}
		page.Versions = append(page.Versions, v)
		page.Chosen[i] = ref.Short()
	}
	over := spanInput{c.Query("start"), c.Query("end")}
	found, err := s.study(ctx, refs, over, pagePatience)
	if err != nil {
		return err
	}
	page.State = computingOf(found)
	page.Refresh = page.State.again()
	page.Title = "Compare " + strings.Join(page.Chosen, ", ")
	if !found.Has() {
		return nil
	}
	page.Study = found.Value
	if len(page.Study.Pairs) == 0 || len(page.Study.Versions) != len(refs) {
		return fmt.Errorf("web: study of %d versions has %d, and %d pairs", len(refs), len(page.Study.Versions), len(page.Study.Pairs))
	}
	page.draw(c.Query("pair"), c.Query("suite"))
	return s.fillGallery(ctx, c, page, over)
}

// draw lays the study out, and the pair that is chosen.
func (p *comparePage) draw(pair, suite string) {
	for i := range p.Versions {
		p.Versions[i].Report = p.Study.Versions[i]
	}
	letters := map[string]string{}
	of := map[dg.ModelRef]string{}
	for i, r := range p.Study.Versions {
		letters[string(r.Version)], of[r.Version] = letterOf(i), letterOf(i)
	}
	chosen := p.Study.Pairs[0]
	for _, x := range p.Study.Pairs {
		name := of[x.A] + of[x.B]
		if name == pair {
			chosen = x
		}
		p.Pairs = append(p.Pairs, pairChoice{Name: of[x.A] + " against " + of[x.B], Link: p.address("pair", name)})
	}
	p.Pair = pairBoxOf(chosen, of, suite, p.Champion)
	for i, x := range p.Study.Pairs {
		p.Pairs[i].Current = x.A == chosen.A && x.B == chosen.B
	}
	p.Heads = suiteHeads(p.Study.Versions)
	p.Robust, p.Calib = robustness(p.Study.Versions), calibrations(p.Study.Versions)
	p.Agree = agreements(p.Study)
	p.Training = trainingGroups(p.Study.Training)
	p.Lineage = []LineageChart{lineageOf(p.Study.Lineage, letters, 960), lineageOf(p.Study.Lineage, letters, 400)}
	p.About = p.Pair.Headline
}

// suiteHeads lays out the accuracies of all versions, suite by suite, on one
// scale.
func suiteHeads(reports []evaluator.Report) []suiteHead {
	var values []float64
	for _, r := range reports {
		for _, s := range r.Suites {
			if s.Fault == "" && s.Samples > 0 {
				values = append(values, s.Accuracy.Lower, s.Accuracy.Upper)
			}
		}
	}
	scale := scaleOf(5, values...)
	var out []suiteHead
	for k, s := range reports[0].Suites {
		h := suiteHead{Suite: s.Suite, Title: suiteTitle(s.Suite)}
		for i, r := range reports {
			if k >= len(r.Suites) {
				continue
			}
			x := r.Suites[k]
			cell := suiteCell{Class: versionClass(i), Letter: letterOf(i), Accuracy: x.Accuracy, Has: x.Fault == "" && x.Samples > 0}
			if cell.Has {
				cell.Plot = scale.row(estimateOf(x.Accuracy))
			}
			h.Cells = append(h.Cells, cell)
		}
		out = append(out, h)
	}
	if len(out) > 0 && len(out[0].Cells) > 0 {
		return out
	}
	return nil
}

// calibrations overlays the calibration curves, a panel a suite.
func calibrations(reports []evaluator.Report) []panel {
	var out []panel
	for k, s := range reports[0].Suites {
		if s.Fault != "" || s.Samples == 0 {
			continue
		}
		var curves []curve
		var errs []string
		for i, r := range reports {
			if k >= len(r.Suites) {
				continue
			}
			c := curve{Name: letterOf(i), Class: versionClass(i)}
			for _, b := range r.Suites[k].Calibration.Bins {
				if b.Accuracy.Samples < minBin {
					continue
				}
				p := calibrationPoint(b)
				p.Title = letterOf(i) + ": " + p.Title
				p.Lower, p.Upper = math.NaN(), math.NaN() // of several versions they would hide each other
				c.Points = append(c.Points, p)
			}
			curves = append(curves, c)
			errs = append(errs, letterOf(i)+" "+percent(r.Suites[k].Calibration.Error))
		}
		out = append(out, panel{suiteTitle(s.Suite) + ", error " + strings.Join(errs, ", "),
			drawXY(xyOptions{XName: "stated confidence", Percent: true, XPercent: true, Diagonal: true, Size: squareChart}, curves...)})
	}
	return out
}

// agreeTable is how often versions say the same on a suite.
type agreeTable struct {
	Title   string
	Samples int
	Heads   []string
	Rows    []agreeRow
}

type agreeRow struct {
	Letter string
	Cells  []heatCell
}

func agreements(s evaluator.Study) []agreeTable {
	var out []agreeTable
	for _, a := range s.Agreement {
		t := agreeTable{Title: a.Suite, Samples: a.Samples}
		for i, r := range s.Versions {
			t.Heads = append(t.Heads, letterOf(i))
			for _, x := range r.Suites {
				if i == 0 && x.Name == a.Suite {
					t.Title = suiteTitle(x.Suite)
				}
			}
		}
		for i, row := range a.Shares {
			r := agreeRow{Letter: letterOf(i)}
			for j, share := range row {
				cell := heatCell{Text: percent(share), Class: "hit-" + fmt.Sprint(max(0, int(share*20)-11)), Title: fmt.Sprintf("%s and %s say the same on %d of %d images", letterOf(i), letterOf(j), a.Counts[i][j], a.Samples)}
				if i == j {
					cell.Text, cell.Class = "", "same"
				}
				r.Cells = append(r.Cells, cell)
			}
			t.Rows = append(t.Rows, r)
		}
		out = append(out, t)
	}
	return out
}

// trainingGroup is the differences in training of one kind.
type trainingGroup struct {
	Title string
	Rows  []evaluator.Difference
	Open  bool
}

// trainingGroups sorts differences by what people ask first.
func trainingGroups(all []evaluator.Difference) []trainingGroup {
	groups := []trainingGroup{{Title: "Images and labels", Open: true}, {Title: "Hyper-parameters", Open: true}, {Title: "The six concerns"}, {Title: "What came out"}, {Title: "Everything else"}}
	for _, d := range all {
		at := 4
		switch head, _, _ := strings.Cut(d.What, "."); head {
		case "counts", "dataset", "production", "trained_on", "skipped", "parent":
			at = 0
		case "options", "spec", "seed":
			at = 1
		case "composition":
			at = 2
		case "metrics", "epochs", "temperature":
			at = 3
		}
		d.What = words(strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(d.What, "composition."), "options."), ".", ", "))
		d.Values = slices.Clone(d.Values)
		for i, v := range d.Values {
			d.Values[i] = clip(cmp.Or(strings.Trim(v, `"`), "–"), 120)
		}
		groups[at].Rows = append(groups[at].Rows, d)
	}
	return slices.DeleteFunc(groups, func(g trainingGroup) bool { return len(g.Rows) == 0 })
}

// galleryBox is the images that two versions answer differently, or both wrong.
type galleryBox struct {
	gallery
	Tabs    []galleryTab
	Suites  []pairChoice
	Kind    evaluator.Discord
	Trouble string
	State   computing
	Next    string // address of the next page
	First   string // ... and of the first, on later ones
	A, B    string
}

type galleryTab struct {
	Words, Link string
	Count       int
	Current     bool
}

func (s *server) fillGallery(ctx context.Context, c *gin.Context, page *comparePage, over spanInput) error {
	pair := page.Pair
	g := &page.Gallery
	g.A, g.B = pair.A.Letter, pair.B.Letter
	if pair.Suite.Suite == "" {
		return nil
	}
	g.Kind = evaluator.Discord(c.Query("kind"))
	if !slices.Contains(evaluator.Discords, g.Kind) {
		g.Kind = evaluator.OnlyA
		if pair.Suite.OnlyA == 0 && pair.Suite.OnlyB > 0 {
			g.Kind = evaluator.OnlyB
		}
	}
	at := func(more ...string) string {
		return page.address(append([]string{"pair", pair.Name, "suite", pair.Suite.Suite}, more...)...) + "#gallery"
	}
	for _, t := range []galleryTab{
		{"Only " + g.A + " right", string(evaluator.OnlyA), pair.Suite.OnlyA, false},
		{"Only " + g.B + " right", string(evaluator.OnlyB), pair.Suite.OnlyB, false},
		{"Both wrong", string(evaluator.BothWrong), pair.Suite.BothWrong, false},
	} {
		t.Current = t.Link == string(g.Kind)
		t.Link = at("kind", t.Link)
		g.Tabs = append(g.Tabs, t)
	}
	after := c.Query("after")
	found, err := s.gallery(ctx, pair.A.Ref, pair.B.Ref, over, galleryOf{pair.Suite.Suite, g.Kind, clip(after, 400), galleryPage}, pagePatience)
	if err != nil {
		if statusOf(err) >= 500 {
			return err
		}
		g.Trouble = problemOf(err, true).Detail
		return nil
	}
	g.gallery, g.State = found.Value, computingOf(found)
	if page.Refresh == 0 {
		page.Refresh = g.State.again()
	}
	if found.Value.Next != "" {
		g.Next = at("kind", string(g.Kind), "after", found.Value.Next)
	}
	if after != "" {
		g.First = at("kind", string(g.Kind))
	}
	return nil
}

// Slots are the names of the parameters that the form offers: one more than is
// chosen, at least three.
func (p comparePage) Slots() []string {
	n := min(max(len(p.Chosen)+1, 3), maxCompared)
	var out []string
	for i := range n {
		out = append(out, string(rune('a'+i)))
	}
	return out
}

// LetterAt names the version at a position.
func (p comparePage) LetterAt(i int) string { return letterOf(i) }

// IsAt reports whether m is chosen at a position; the champion is the first
// when nobody says.
func (p comparePage) IsAt(i int, m modelBody) bool {
	if i < len(p.Chosen) {
		return p.Chosen[i] == m.Version || p.Chosen[i] == m.Role || p.Chosen[i] == string(m.Ref)
	}
	return i == 0 && m.Ref == p.Champion
}

// Look is the page with another suite's parts and images.
func (p comparePage) Look(suite string) string {
	return p.address("pair", p.Pair.Name, "suite", suite) + "#parts"
}

// Joined are the versions by comma.
func (p comparePage) Joined() string { return strings.Join(p.Chosen, ",") }

// Shared says how much of what two learned from is the same.
func (p comparePage) Shared() string {
	var out []string
	for i := range p.Study.Overlap {
		for j := i + 1; j < len(p.Study.Overlap[i]); j++ {
			if n := p.Study.Overlap[i][j]; n > 0 {
				out = append(out, fmt.Sprintf("%s and %s share %s", letterOf(i), letterOf(j), plural(n, "production image", "production images")))
			}
		}
	}
	if len(out) == 0 {
		return ""
	}
	return strings.Join(out, "; ") + "."
}
