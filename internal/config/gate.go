package config

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"driftgate"
	"driftgate/evaluator"

	"github.com/goccy/go-yaml/ast"
)

// Gate is when a challenger may replace the champion: a document of its own
// (gate.yml, see [ReadGate]), or the few keys here.
type Gate struct {
	File     string        `key:"file" doc:"the gate as a document: suites, floors, margins (deploy/gate.yml is an example); then gate.min_pairs and gate.margin stand there, not here; empty is the built-in document; read at start"`
	MinPairs int           `key:"min_pairs" doc:"held-out labelled samples below which the verdict is inconclusive"`
	Margin   float64       `key:"margin" doc:"how much better, in accuracy, the challenger must be at the least"`
	Window   time.Duration `key:"window" doc:"how far back the comparison reaches when the cause has no start"`
	Wait     time.Duration `key:"wait" doc:"how long a run waits for enough pairs"`

	document *evaluator.Gate // what File says, once [Load] has read it
}

// Document is the gate that holds: what the file said when it was loaded, or
// the built-in document with the keys of the configuration.
func (g Gate) Document() evaluator.Gate {
	if g.document != nil {
		return *g.document
	}
	return evaluator.Gate{MinPairs: g.MinPairs, Margin: g.Margin}
}

// movedKeys are the keys that a gate document takes over, with their names there.
var movedKeys = map[string]string{"gate.min_pairs": "min_pairs", "gate.margin": "margin"}

// gate reads the gate's document, if there is one. Keys that stand in it must
// not be set outside too: nobody could tell which holds.
func (l *loader) gate(c *Config) {
	if c.Gate.File == "" {
		return
	}
	where := l.source["gate.file"]
	twice := false
	for key, name := range movedKeys {
		if at, ok := l.source[key]; ok {
			twice = true
			l.fail(at, "%s: gate.file is set too (%s): remove %s here, and write %s: in %s", key, where, key, name, c.Gate.File)
		}
	}
	path, err := filepath.Abs(c.Gate.File) // the embedded store changes the working directory
	if err != nil {
		l.fail(where, "gate.file: %v", err)
		return
	}
	document, mistakes := readGate(path)
	if len(mistakes) > 0 {
		l.errs = append(l.errs, mistakes...)
		return
	}
	if c.Gate.document = &document; twice {
		return
	}
	full := document.WithDefaults()
	c.Gate.File, c.Gate.MinPairs, c.Gate.Margin = path, full.MinPairs, full.Margin
	l.source["gate.min_pairs"], l.source["gate.margin"] = "gate.file", "gate.file"
}

// gateKeys are the keys of a gate document that are plain values, in order.
type gateKeys struct {
	MinPairs   int       `key:"min_pairs" doc:"held-out pairs below which the verdict is inconclusive"`
	Margin     float64   `key:"margin" doc:"the lower bound of the gain must exceed this to promote"`
	Worthwhile float64   `key:"worthwhile" doc:"a gain that is at best this is rejected, not awaited"`
	RecallDrop float64   `key:"recall_drop" doc:"how much recall any class may clearly lose, on held-out labels and on the test set"`
	ClassPairs int       `key:"class_pairs" doc:"pairs of a class below which its recall is not judged"`
	MaxMissing float64   `key:"max_missing" doc:"share of a suite's images that may be unreadable before it cannot be judged: error"`
	Floors     floorKeys `key:"floors"`
}

// floorKeys are the floors for all.
type floorKeys struct {
	Overall float64 `key:"overall" doc:"accuracy on held-out labels that the challenger must reach; 0 is no floor"`
	Class   float64 `key:"class" doc:"recall that it must reach in every class; 0 is no floor"`
	Suite   float64 `key:"suite" doc:"accuracy that it must reach on each special suite without a floor of its own; 0 is no floor"`
}

// suiteKeys are those of one suite.
type suiteKeys struct {
	Name     string  `key:"name" doc:"heldout, test, or a name for a suite of your own"`
	Source   string  `key:"source" doc:"where the images of a suite of your own are, a folder a class: BUCKET/PREFIX/ (datasets/ is the datasets bucket), a folder (absolute, or ./ from this file), or a stored dataset NAME@FINGERPRINT"`
	Floor    float64 `key:"floor" doc:"accuracy that the challenger must reach here"`
	MayLose  float64 `key:"may_lose" doc:"accuracy that it may lose here against the champion"`
	MinPairs int     `key:"min_pairs" doc:"images below which the suite cannot be judged"`
}

// ReadGate reads a gate document, strictly: an unknown key, a key set twice, a
// value that cannot be are mistakes, all reported at once with their lines. The
// error is [driftgate.ErrInvalid].
func ReadGate(path string) (evaluator.Gate, error) {
	g, mistakes := readGate(path)
	if len(mistakes) > 0 {
		return evaluator.Gate{}, fmt.Errorf("config: gate: %d mistakes: %w\n%w", len(mistakes), driftgate.ErrInvalid, errors.Join(mistakes...))
	}
	return g, nil
}

func readGate(path string) (evaluator.Gate, []error) {
	var keys gateKeys
	l := &loader{leaves: leavesOf(reflect.ValueOf(&keys).Elem(), ""), source: map[string]string{}}
	var suites []*suiteKeys
	l.list = func(key string, n ast.Node, where string) bool {
		if key != "suites" {
			return false
		}
		items, ok := n.(*ast.SequenceNode)
		if !ok {
			l.fail(where, "suites: want a list: - {name: test}")
			return true
		}
		for i, item := range items.Values {
			s := &suiteKeys{}
			prefix := fmt.Sprintf("suites[%d]", i)
			suites = append(suites, s)
			l.leaves = append(l.leaves, leavesOf(reflect.ValueOf(s).Elem(), prefix+".")...)
			l.source[prefix] = place(path, item.GetToken())
			l.walk(path, prefix+".", item)
		}
		return true
	}
	l.file(path)
	g := evaluator.Gate{
		MinPairs: keys.MinPairs, Margin: keys.Margin, Worthwhile: keys.Worthwhile, RecallDrop: keys.RecallDrop, ClassPairs: keys.ClassPairs,
		MaxMissing: keys.MaxMissing, Floors: evaluator.Floors(keys.Floors),
	}
	for _, s := range suites {
		s.Source = besideDocument(path, s.Source)
		g.Suites = append(g.Suites, evaluator.SuiteRule(*s))
	}
	for _, key := range zeroes(l, suites) {
		l.fail(l.source[key], "%s: 0 would mean its default: leave it out, or write .0001 for next to nothing", key)
	}
	for _, f := range g.Faults() {
		if !l.bad[f.Key] {
			item, _, _ := strings.Cut(f.Key, ".")
			l.fail(cmp.Or(l.source[f.Key], l.source[item], path), "%s: %s", f.Key, f.Text)
		}
	}
	return g, l.errs
}

// zeroes are the keys that a document sets to 0 and that have another default:
// whoever writes 0 means it, and would get a looser bar.
func zeroes(l *loader, suites []*suiteKeys) (keys []string) {
	look := func(key string) {
		i := slices.IndexFunc(l.leaves, func(f leaf) bool { return f.key == key })
		if _, written := l.source[key]; written && !l.bad[key] && l.leaves[i].value.IsZero() {
			keys = append(keys, key)
		}
	}
	for _, key := range []string{"min_pairs", "class_pairs", "worthwhile", "max_missing", "recall_drop"} {
		look(key)
	}
	for i := range suites {
		if suites[i].Name == evaluator.KindHeldout {
			continue
		}
		for _, name := range []string{"may_lose", "min_pairs"} {
			look(fmt.Sprintf("suites[%d].%s", i, name))
		}
	}
	return keys
}

// besideDocument makes ./ and ../ of a suite's source mean the folder of the
// document: the process may stand elsewhere, and the embedded store moves it.
func besideDocument(path, source string) string {
	if !strings.HasPrefix(source, "./") && !strings.HasPrefix(source, "../") {
		return source
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return source
	}
	return filepath.Join(filepath.Dir(abs), source)
}

// FormatGate writes a gate as a document that [ReadGate] reads back, every
// default filled in and every key explained.
func FormatGate(g evaluator.Gate) string {
	g = g.WithDefaults()
	keys := gateKeys{MinPairs: g.MinPairs, Margin: g.Margin, Worthwhile: g.Worthwhile, RecallDrop: g.RecallDrop, ClassPairs: g.ClassPairs,
		MaxMissing: g.MaxMissing, Floors: floorKeys(g.Floors)}
	if g.Suites[0].Floor == g.Floors.Overall {
		g.Suites[0].Floor = 0 // it is that of floors.overall
	}
	var b strings.Builder
	section := ""
	for _, f := range leavesOf(reflect.ValueOf(&keys).Elem(), "") {
		indent, name := "", f.key
		if head, tail, nested := strings.Cut(f.key, "."); nested {
			if indent, name = "  ", tail; head != section {
				section = head
				fmt.Fprintf(&b, "%s:\n", head)
			}
		}
		fmt.Fprintf(&b, "%-22s # %s\n", fmt.Sprintf("%s%s: %s", indent, name, render(f.value)), f.doc)
	}
	b.WriteString("suites:\n")
	for _, s := range g.Suites {
		s := suiteKeys(s)
		lead := "  - "
		for _, f := range leavesOf(reflect.ValueOf(&s).Elem(), "") {
			if f.value.IsZero() {
				continue
			}
			text := render(f.value)
			if f.value.Kind() == reflect.String {
				text = strconv.Quote(text)
			}
			fmt.Fprintf(&b, "%s%s: %s\n", lead, f.key, text)
			lead = "    "
		}
	}
	return b.String()
}
