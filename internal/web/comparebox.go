package web

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"driftgate/evaluator"
)

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
