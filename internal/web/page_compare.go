package web

import (
	"errors"
	"fmt"
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
	Over     Over
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
	if p.Over != (Over{}) {
		more = append(more, "start", p.Over.Start, "end", p.Over.End)
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
	page.Over = Over{c.Query("start"), c.Query("end")}
	found, err := s.study(ctx, refs, page.Over, pagePatience)
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
	return s.fillGallery(ctx, c, page)
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
