package evaluator

import (
	"errors"
	"fmt"
	"regexp"

	dg "driftgate"
)

// Gate is the document that says when a challenger may replace the champion:
// what is looked at, and what it must show. It is a plain value; [Gate.Judge]
// applies it. The zero value is the built-in document: the held-out suite
// alone, no absolute floors. A zero field means its default where one is named,
// and "off" where none is. Ratios run 0 to 1.
type Gate struct {
	MinPairs   int     `json:"min_pairs"`   // held-out pairs below which the verdict is inconclusive; default 100
	Margin     float64 `json:"margin"`      // the lower bound of the gain must exceed this to promote; 0: any gain
	Worthwhile float64 `json:"worthwhile"`  // a gain that is at best this is rejected, not awaited; default .01
	MaxMissing float64 `json:"max_missing"` // share of a suite's samples that may be unreadable before it cannot be judged; default .05

	// RecallDrop is how much recall a class may lose against the champion,
	// clearly lose, on held-out labels or the test set, before the challenger
	// is rejected for it; default .10.
	RecallDrop float64 `json:"recall_drop"`
	ClassPairs int     `json:"class_pairs"` // pairs of a class below which its recall is not judged; default 20

	Floors Floors      `json:"floors"`
	Suites []SuiteRule `json:"suites"` // in order; the held-out suite is always judged, named or not
}

// Floors are accuracies that a challenger must reach to be promoted, whatever
// the champion reaches; 0 is no floor. They are off in the built-in document: a
// challenger that repairs a broken champion must not be stopped for being less
// than perfect.
type Floors struct {
	Overall float64 `json:"overall"` // accuracy on held-out labels, weighted
	Class   float64 `json:"class"`   // recall of every class, on held-out labels, weighted
	Suite   float64 `json:"suite"`   // accuracy on each special suite without a floor of its own
}

// SuiteRule is one suite and what it demands.
type SuiteRule struct {
	Name     string  `json:"name"`                // "heldout", "test", or a name for a special suite
	Source   string  `json:"source,omitempty"`    // of a special suite: where its images are; empty for the two built in
	Floor    float64 `json:"floor,omitempty"`     // accuracy that the challenger must reach here; 0: of the special suites that of Floors.Suite, else none
	MayLose  float64 `json:"may_lose,omitempty"`  // accuracy that it may lose here against the champion, clearly lose, without being rejected; default .02; not for heldout
	MinPairs int     `json:"min_pairs,omitempty"` // images below which the suite is too small to be judged; default 20; not for heldout
}

// Special reports whether the suite is one of the user's own.
func (r SuiteRule) Special() bool { return r.Name != KindHeldout && r.Name != KindTest }

// maxSuites bounds a document.
const maxSuites = 32

// WithDefaults fills in every default: the document as it is applied.
func (g Gate) WithDefaults() Gate {
	whole := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	ratio := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
	}
	whole(&g.MinPairs, 100)
	whole(&g.ClassPairs, 20)
	ratio(&g.Worthwhile, .01)
	ratio(&g.MaxMissing, .05)
	ratio(&g.RecallDrop, .10)
	heldout := SuiteRule{Name: KindHeldout}
	var others []SuiteRule
	for _, r := range g.Suites {
		if r.Name == KindHeldout {
			heldout = r
			continue
		}
		if r.Special() {
			ratio(&r.Floor, g.Floors.Suite)
		}
		ratio(&r.MayLose, .02)
		whole(&r.MinPairs, 20)
		others = append(others, r)
	}
	ratio(&heldout.Floor, g.Floors.Overall)
	g.Suites = append([]SuiteRule{heldout}, others...)
	return g
}

// Rules are the suites to judge on, the held-out one first, with their defaults.
func (g Gate) Rules() []SuiteRule { return g.WithDefaults().Suites }

// suiteName is what a special suite may be called: it stands in addresses.
var suiteName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}$`)

// GateFault is one mistake in a gate, by its key in the document.
type GateFault struct {
	Key  string // "margin", "floors.class", "suites[2].floor"
	Text string // what is wrong, and what would be right
}

// Faults lists every mistake; none is a valid gate.
func (g Gate) Faults() (out []GateFault) {
	want := func(ok bool, key, format string, args ...any) {
		if !ok {
			out = append(out, GateFault{key, fmt.Sprintf(format, args...)})
		}
	}
	ratio := func(key string, x float64) {
		want(x >= 0 && x < 1, key, "%g: want a ratio from 0 to below 1, not a percentage", x) // also refuses NaN
	}
	count := func(key string, n int) {
		want(n >= 0 && n <= 1_000_000, key, "%d: want 0 (the default) to 1,000,000", n)
	}
	want(g.MinPairs == 0 || g.MinPairs >= 30 && g.MinPairs <= 1_000_000, "min_pairs", "%d: want 0 (the default) or 30 to 1,000,000", g.MinPairs)
	count("class_pairs", g.ClassPairs)
	ratio("margin", g.Margin)
	ratio("worthwhile", g.Worthwhile)
	ratio("max_missing", g.MaxMissing)
	ratio("recall_drop", g.RecallDrop)
	ratio("floors.overall", g.Floors.Overall)
	ratio("floors.class", g.Floors.Class)
	ratio("floors.suite", g.Floors.Suite)
	want(len(g.Suites) <= maxSuites, "suites", "%d of them: want at most %d", len(g.Suites), maxSuites)
	seen := map[string]bool{}
	for i, r := range g.Suites {
		key := func(name string) string { return fmt.Sprintf("suites[%d].%s", i, name) }
		want(suiteName.MatchString(r.Name), key("name"), "%q: want heldout, test, or a name of up to 40 lower-case letters, digits, - and _", r.Name)
		want(!seen[r.Name], key("name"), "%q is there before: want each suite once", r.Name)
		seen[r.Name] = true
		if r.Special() {
			want(r.Source != "", key("source"), "missing: want the folder or the BUCKET/PREFIX/ of %q, a folder a class", r.Name)
			want(len(r.Source) <= 1024, key("source"), "%d characters: want at most 1024", len(r.Source))
		} else {
			want(r.Source == "", key("source"), "%q: %s needs none; want another name for a suite of your own", r.Source, r.Name)
		}
		ratio(key("floor"), r.Floor)
		ratio(key("may_lose"), r.MayLose)
		count(key("min_pairs"), r.MinPairs)
		want(r.Name != KindHeldout || r.MayLose == 0, key("may_lose"), "%g: the held-out suite must gain: margin says how much", r.MayLose)
		want(r.Name != KindHeldout || r.MinPairs == 0, key("min_pairs"), "%d: that of the held-out suite is min_pairs of the document", r.MinPairs)
		want(r.Name != KindHeldout || r.Floor == 0 || g.Floors.Overall == 0, key("floor"), "%g: floors.overall is set too: want one of them", r.Floor)
	}
	return out
}

// Validate reports every fault; the error is [dg.ErrInvalid].
func (g Gate) Validate() error {
	var errs []error
	for _, f := range g.Faults() {
		errs = append(errs, fmt.Errorf("%s: %s", f.Key, f.Text))
	}
	if len(errs) > 0 {
		return fmt.Errorf("evaluator: gate: %w: %w", dg.ErrInvalid, errors.Join(errs...))
	}
	return nil
}

// Trial is one suite with both models' answers.
type Trial struct {
	Suite      string // "heldout", "test", or its name in the gate
	Pairs      []Pair
	Population []dg.StratumCount // what the pairs stand for, by stratum and curate interval; nil: every pair weighs alike
	Fault      string            // why it could not be judged at all; empty: it could
}
