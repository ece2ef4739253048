package web

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	dg "driftgate"
)

type modelsPage struct {
	layout
	Champion    dg.Champion
	HasChampion bool
	Rows        []modelRow
	History     []dg.Champion
}

type modelRow struct {
	modelBody
	Test    float64
	HasTest bool
	Ago     string
}

func (s *server) getModels(c *gin.Context) {
	ctx := c.Request.Context()
	entries, history, err := s.modelsAndHistory(ctx)
	if err != nil {
		s.fail(c, err)
		return
	}
	page := modelsPage{layout: s.layout(c, "models", "Models"), History: history}
	if page.Champion, page.HasChampion, err = s.champion(ctx); err != nil {
		s.fail(c, err)
		return
	}
	for _, e := range entries {
		row := modelRow{modelBody: modelOf(e), Ago: age(page.Now, e.SavedAt)}
		row.Test, row.HasTest = row.Manifest.Metrics["test_accuracy"]
		page.Rows = append(page.Rows, row)
	}
	slices.SortStableFunc(page.Rows, func(a, b modelRow) int { return b.SavedAt.Compare(a.SavedAt) })
	s.page(c, http.StatusOK, "models", page)
}

func (s *server) postPromote(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxFormBytes)
	if _, err := s.promote(c.Request.Context(), c.PostForm("ref"), c.PostForm("reason")); err != nil {
		s.fail(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, "/models?done=promoted")
}

func (s *server) postRollback(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxFormBytes)
	if _, err := s.rollback(c.Request.Context(), c.PostForm("reason")); err != nil {
		s.fail(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, "/models?done=rollback")
}

type comparePage struct {
	layout
	A, B    string
	C       dg.Comparison
	Has     bool
	Trouble string // why there is no comparison
	Verdict string
	Bar     differenceBar
	Models  []modelBody
}

// differenceBar is the difference with its interval, laid out on a line from
// -Span to +Span percentage points.
type differenceBar struct {
	Width, Zero, Low, High, At float64
	Ticks                      []Tick
}

const barWidth = 640

func barOf(c dg.Comparison) differenceBar {
	span := max(math.Abs(c.Lower), math.Abs(c.Upper), math.Abs(c.Difference), 0.02) * 1.15
	if math.IsNaN(span) || math.IsInf(span, 0) {
		return differenceBar{}
	}
	x := func(v float64) float64 { return round1(barWidth/2 + v/span*(barWidth/2-30)) }
	b := differenceBar{Width: barWidth, Zero: x(0), Low: x(c.Lower), High: x(c.Upper), At: x(c.Difference)}
	step := 0.01
	for span/step > 4 {
		step *= 2
		if math.Abs(step-0.04) < 1e-9 {
			step = 0.05
		}
	}
	for k := -int(span / step); k <= int(span/step); k++ {
		v := float64(k) * step
		text := "0"
		if k != 0 {
			text = strings.ReplaceAll(fmt.Sprintf("%+.0f", v*100), "-", "−")
		}
		b.Ticks = append(b.Ticks, Tick{x(v), text})
	}
	return b
}

var verdictWords = map[dg.Verdict]string{
	dg.Promote:      "Promote: the challenger is better by more than chance explains.",
	dg.Reject:       "Reject: the challenger must not take over.",
	dg.Inconclusive: "Inconclusive: not enough is known, so nothing changes.",
}

func (s *server) getCompare(c *gin.Context) {
	ctx := c.Request.Context()
	page := comparePage{layout: s.layout(c, "models", "Compare"), A: cmp.Or(c.Query("a"), "champion"), B: c.Query("b")}
	entries, _, err := s.modelsAndHistory(ctx)
	if err != nil {
		s.fail(c, err)
		return
	}
	for _, e := range entries {
		page.Models = append(page.Models, modelOf(e))
	}
	slices.SortStableFunc(page.Models, func(a, b modelBody) int { return b.SavedAt.Compare(a.SavedAt) })
	status := http.StatusOK
	if page.B != "" {
		if page.C, err = s.compare(ctx, page.A, page.B); err != nil {
			if status = statusOf(err); status >= 500 || errors.Is(err, dg.ErrNotFound) {
				s.fail(c, err)
				return
			}
			page.Trouble = err.Error()
		} else {
			page.Has, page.Verdict, page.Bar = true, verdictWords[page.C.Verdict], barOf(page.C)
		}
	}
	s.page(c, status, "compare", page)
}

// Percent of all pairs, for the two-by-two table.
func (p comparePage) Percent(n int) string {
	if p.C.Pairs == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(n)/float64(p.C.Pairs))
}

// P renders the p-value.
func (p comparePage) P() string { return pValue(p.C.PValue) }
