package web

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	dg "driftgate"
	"driftgate/internal/experiment"
	"driftgate/internal/network"
)

type experimentsPage struct {
	layout
	experimentQuery
	Heads   []experimentHead
	Rows    []experimentRow
	Choices []columnChoice // columns to put in or take out
	Ways    []link         // ready-made filters
	Exports []link
	Next    string // link to the next page
	First   string // link to the first, from another
	Trouble string
}

type link struct {
	Text, URL string
	Here      bool
}

type experimentHead struct {
	Label, Full, URL string // URL sorts by it
	Sorted           string // ascending, descending, or empty
	Numeric          bool
}

type columnChoice struct {
	Group  string
	Fields []link
}

type experimentRow struct {
	experiment.Record
	Cells []experimentCell
	Spark spark
}

type experimentCell struct {
	Name                  string // of the column, where there are no heads
	Text, Title, URL, Tag string // Tag: shown as one, in this colour
	Numeric, None         bool
}

// with is the address of the page with one parameter changed; a change begins at
// the first page.
func (q experimentQuery) with(name, value string) string {
	v := url.Values{}
	for n, text := range map[string]string{"filter": q.Filter, "sort": q.Sort, "columns": q.Columns, name: value} {
		if text != "" {
			v.Set(n, text)
		}
	}
	if name == "after" {
		v.Set("after", value)
	}
	if len(v) == 0 {
		return "/experiments"
	}
	return "/experiments?" + v.Encode()
}

func (s *server) getExperiments(c *gin.Context) {
	if s.d.Experiments == nil {
		s.missing("keeping experiments")(c)
		return
	}
	page := experimentsPage{layout: s.layout(c, "experiments", "Experiments"),
		experimentQuery: experimentQuery{strings.TrimSpace(c.Query("filter")), c.Query("sort"), strings.TrimSpace(c.Query("columns"))}}
	status := http.StatusOK
	q, err := page.parse()
	var found experiment.Page
	if err == nil {
		found, err = s.d.Experiments.List(c.Request.Context(), experiment.Query{Filter: q.filter, Order: q.order, After: c.Query("after"), Limit: 50, Curves: true})
	}
	if err != nil {
		if status = statusOf(err); status >= 500 {
			s.fail(c, err)
			return
		}
		page.Trouble = strings.NewReplacer("experiment: ", "", ": "+dg.ErrInvalid.Error(), "").Replace(err.Error())
	}
	page.lay(q, found)
	if found.Next != "" {
		page.Next = page.with("after", found.Next)
	}
	if c.Query("after") != "" {
		page.First = page.with("", "")
	}
	s.page(c, status, "experiments", page)
}

// lay makes heads, rows and links.
func (p *experimentsPage) lay(q parsedQuery, found experiment.Page) {
	for _, f := range q.columns {
		h := experimentHead{Label: words(f.Label()), Full: f.String(), URL: p.with("sort", q.order.Turned(f).String()), Numeric: f.Numeric()}
		if by, down := q.order.By(f); by {
			h.Sorted = "ascending"
			if down {
				h.Sorted = "descending"
			}
		}
		p.Heads = append(p.Heads, h)
	}
	for _, r := range found.Records {
		row := experimentRow{Record: r, Spark: sparkOf(r)}
		for _, f := range q.columns {
			row.Cells = append(row.Cells, cellOf(f, r))
		}
		p.Rows = append(p.Rows, row)
	}
	p.Choices = p.choices(q.columns, found.Records)
	for _, w := range [][2]string{{"all", ""}, {"trainings", "kind!=evaluation kind!=trial"}, {"trials", "kind=trial"}, {"evaluations", "kind=evaluation"}, {"running", "state=running"}, {"failed", "state=failed"}} {
		p.Ways = append(p.Ways, link{w[0], p.with("filter", w[1]), p.Filter == w[1]})
	}
	for _, e := range [][2]string{{"CSV", "csv"}, {"JSON", "json"}, {"MLflow", "mlflow"}} {
		v := url.Values{"as": {e[1]}}
		for n, text := range map[string]string{"filter": p.Filter, "sort": p.Sort, "columns": p.Columns} {
			if text != "" {
				v.Set(n, text)
			}
		}
		p.Exports = append(p.Exports, link{Text: e[0], URL: apiBase + "/experiments/export?" + v.Encode()})
	}
}

// choices are the fields that the shown records have, each a link that puts its
// column in or takes it out.
func (p *experimentsPage) choices(shown []experiment.Field, records []experiment.Record) []columnChoice {
	var names []string
	for _, f := range shown {
		names = append(names, f.String())
	}
	groups := map[string]*columnChoice{}
	var out []*columnChoice
	for _, f := range experiment.Fields(records) {
		group, _, dotted := strings.Cut(f.String(), ".")
		if !dotted {
			group = "record"
		}
		if groups[group] == nil {
			groups[group] = &columnChoice{Group: group}
			out = append(out, groups[group])
		}
		next := slices.Clone(names)
		i := slices.Index(next, f.String())
		if i >= 0 {
			next = slices.Delete(next, i, i+1)
		} else {
			next = append(next, f.String())
		}
		groups[group].Fields = append(groups[group].Fields, link{f.Label(), p.with("columns", strings.Join(next, ",")), i >= 0})
	}
	var flat []columnChoice
	for _, g := range out {
		flat = append(flat, *g)
	}
	return flat
}

func cellOf(f experiment.Field, r experiment.Record) experimentCell {
	text, ok := f.Text(r)
	if !ok {
		return experimentCell{Name: words(f.Label()), Text: "–", Numeric: f.Numeric(), None: true}
	}
	cell := experimentCell{Name: words(f.Label()), Text: clipRunes(text, 40), Title: text, Numeric: f.Numeric()}
	switch name := f.String(); name {
	case "state", "verdict":
		cell.Tag = text
	case "version":
		cell.URL = "/models/" + text
	case "parent":
		cell.URL = "/experiments/" + text
	case "started", "finished":
		at := r.StartedAt
		if name == "finished" {
			at = r.FinishedAt
		}
		cell.Text = clock(at)
	case "seconds":
		cell.Text = span(r.FinishedAt.Sub(r.StartedAt))
	default:
		if v, number := f.Any(r).(float64); number {
			cell.Text = figureText(v)
		}
	}
	return cell
}

// figureText renders a number with four digits that count.
func figureText(v float64) string {
	if v == float64(int64(v)) && v < 1e9 && v > -1e9 {
		return count(int(v))
	}
	return strings.ReplaceAll(fmt.Sprintf("%.4g", v), "-", "−")
}

type experimentPage struct {
	layout
	E        experiment.Record
	Took     string
	Charts   []curveChart
	Figures  []named
	Settings []named
	Machine  []named
	TagList  []named
	Above    []experiment.Record // the oldest first
	Below    []experiment.Record // the oldest first, without trials
	Trials   trialTable
	JSON     string // where the same is for programs
}

type named struct{ Name, Text, Title string }

// maxAncestors is how far up the lineage goes.
const maxAncestors = 12

func (s *server) getExperiment(c *gin.Context) {
	if s.d.Experiments == nil {
		s.missing("keeping experiments")(c)
		return
	}
	ctx := c.Request.Context()
	r, err := s.d.Experiments.Get(ctx, c.Param("id"))
	if err != nil {
		s.fail(c, err)
		return
	}
	page := experimentPage{layout: s.layout(c, "experiments", r.ID), E: r, Charts: curveCharts(r), JSON: apiBase + "/experiments/" + url.PathEscape(r.ID)}
	end := cmp.Or(r.FinishedAt, page.Now)
	page.Took = span(end.Sub(r.StartedAt))
	for _, name := range slices.Sorted(maps.Keys(r.Metrics)) {
		page.Figures = append(page.Figures, named{name, figureText(r.Metrics[name]), fmt.Sprint(r.Metrics[name])})
	}
	page.Settings, page.Machine, page.TagList = namedOf(r.Parameters), namedOf(r.Environment), namedOf(r.Tags)
	for id := r.Parent; id != "" && len(page.Above) < maxAncestors; {
		above, err := s.d.Experiments.Get(ctx, id)
		if err != nil {
			break // its parent was never recorded
		}
		page.Above = append([]experiment.Record{above}, page.Above...)
		id = above.Parent
	}
	below, err := s.d.Experiments.Children(ctx, r.ID, network.MaxTrials+50)
	if err != nil {
		s.fail(c, err)
		return
	}
	slices.Reverse(below)
	page.Trials, page.Below = trialsOf(below)
	if r.State == experiment.Running {
		page.Refresh = 5
	}
	s.page(c, http.StatusOK, "experiment", page)
}

func namedOf(texts map[string]string) (out []named) {
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		out = append(out, named{name, clipRunes(texts[name], 200), texts[name]})
	}
	return out
}

// postExperiment changes tags and note as the form says.
func (s *server) postExperiment(c *gin.Context) {
	if s.d.Experiments == nil {
		s.missing("keeping experiments")(c)
		return
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxFormBytes)
	tags, untag := map[string]string{}, []string{}
	if name, v, _ := strings.Cut(strings.TrimSpace(c.PostForm("tag")), "="); name != "" {
		tags[strings.TrimSpace(name)] = strings.TrimSpace(v)
	}
	if name := c.PostForm("untag"); name != "" {
		untag = append(untag, name)
	}
	var note *string
	if text, ok := c.GetPostForm("note"); ok {
		text = strings.ReplaceAll(text, "\r\n", "\n")
		note = &text
	}
	r, err := s.d.Experiments.Edit(c.Request.Context(), c.Param("id"), changeOf(tags, untag, note))
	if err != nil {
		s.fail(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, "/experiments/"+url.PathEscape(r.ID))
}

// Span is how many columns the table has.
func (p experimentsPage) Span() int { return len(p.Heads) + 2 }
