package config

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"driftgate"
	"driftgate/evaluator"
)

func TestTheExampleGateIsRead(t *testing.T) {
	g, err := ReadGate("../../deploy/gate.yml")
	if err != nil {
		t.Fatal(err)
	}
	want := evaluator.Gate{MinPairs: 100, Worthwhile: .01, RecallDrop: .10, ClassPairs: 20, MaxMissing: .05,
		Floors: evaluator.Floors{Overall: .85, Class: .75, Suite: .60},
		Suites: []evaluator.SuiteRule{{Name: "test", MayLose: .02}, {Name: "look-alikes", Source: "datasets/look-alikes/", MayLose: .05, MinPairs: 20},
			{Name: "new-styles", Source: "datasets/new-styles/", Floor: .70, MayLose: .05}}}
	if !reflect.DeepEqual(g, want) {
		t.Errorf("read %+v, want %+v", g, want)
	}
	if rules := g.Rules(); rules[0].Floor != .85 || rules[2].Floor != .60 || rules[3].Floor != .70 {
		t.Errorf("floors of %+v: want .85, .60 and .70", rules)
	}
}

func TestGateMistakesAreReportedAtOnceWithTheirLines(t *testing.T) {
	path := write(t, `margin: 2
worthwile: 0.01
floors:
  class: none
min_pairs: 5
suites:
  - name: test
    may_loose: 0.1
    source: x/
  - name: alike
    floor: -1
  - 7
`)
	_, err := ReadGate(path)
	if !errors.Is(err, driftgate.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		path + ":1: margin: 2: want a ratio from 0 to below 1",
		path + ":2: unknown key worthwile; did you mean worthwhile?",
		path + `:4: floors.class: "none": want a number`,
		path + ":5: min_pairs: 5: want 0 (the default) or 30",
		path + ":8: unknown key suites[0].may_loose; did you mean suites[0].may_lose?",
		path + `:9: suites[0].source: "x/": test needs none`,
		path + ":11: suites[1].floor: -1: want a ratio",
		path + `:10: suites[1].source: missing`,
		path + ":12: want keys and values",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
	_, err = ReadGate(write(t, "recall_drop: 0\nmargin: 0\nfloors: {overall: 0}\nsuites:\n  - {name: test, may_lose: 0}\n  - {name: heldout, floor: 0}\n"))
	for _, want := range []string{"2 mistakes", ":1: recall_drop: 0 would mean its default", ":5: suites[0].may_lose: 0 would mean its default"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
	for name, text := range map[string]string{"a list of nothing": "suites: many\n", "no document at all": "- 1\n", "broken YAML": "margin: [\n", "a key twice": "margin: 0.1\nmargin: 0.2\n"} {
		if _, err := ReadGate(write(t, text)); !errors.Is(err, driftgate.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadGate(filepath.Join(t.TempDir(), "none.yml")); err == nil || !strings.Contains(err.Error(), "none.yml") {
		t.Errorf("no file: %v", err)
	}
}

func TestFormattedGatesReadBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	maybe := func(x float64) float64 { return float64(rng.IntN(2)) * x }
	for range 200 {
		g := evaluator.Gate{MinPairs: 30 * rng.IntN(9), Margin: maybe(.031), Worthwhile: maybe(.5), RecallDrop: maybe(.07), ClassPairs: rng.IntN(50), MaxMissing: maybe(.3),
			Floors: evaluator.Floors{Overall: maybe(.9), Class: maybe(.8), Suite: maybe(.7)}}
		for i := range rng.IntN(4) {
			g.Suites = append(g.Suites, evaluator.SuiteRule{Name: "s" + string(rune('a'+i)), Source: "a: \"b\" #/", Floor: maybe(.4), MayLose: maybe(.01), MinPairs: rng.IntN(9)})
		}
		if rng.IntN(2) == 0 {
			g.Suites = append(g.Suites, evaluator.SuiteRule{Name: "test"})
		}
		if g.Floors.Overall == 0 && rng.IntN(2) == 0 {
			g.Suites = append(g.Suites, evaluator.SuiteRule{Name: "heldout", Floor: .5})
		}
		text := FormatGate(g)
		back, err := ReadGate(write(t, text))
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if !reflect.DeepEqual(back.WithDefaults(), g.WithDefaults()) {
			t.Fatalf("%+v came back as %+v from\n%s", g.WithDefaults(), back.WithDefaults(), text)
		}
	}
}

func TestGateFileTakesTheKeysOver(t *testing.T) {
	gate := write(t, "min_pairs: 250\nmargin: 0.02\nfloors: {class: 0.6}\n")
	load := func(text string, flags map[string]string) (Config, []Value, error) {
		return Load(Sources{File: write(t, text), Lookup: none, Flags: flags})
	}
	c, values, err := load("gate:\n  file: "+gate+"\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	if g := c.Gate.Document(); g.MinPairs != 250 || g.Margin != .02 || g.Floors.Class != .6 {
		t.Errorf("document %+v", g)
	}
	if c.Gate.MinPairs != 250 || c.Gate.Margin != .02 {
		t.Errorf("keys %+v: want those of the document", c.Gate)
	}
	for _, v := range values {
		if v.Key == "gate.min_pairs" && (v.Value != "250" || v.Source != "gate.file") {
			t.Errorf("%+v", v)
		}
	}
	for name, tt := range map[string]struct {
		text  string
		flags map[string]string
		want  string
	}{
		"a key beside the document": {"gate:\n  file: " + gate + "\n  margin: 0.01\n", nil, ":3: gate.margin: gate.file is set too"},
		"a flag beside it":          {"gate:\n  file: " + gate + "\n", map[string]string{"gate.min_pairs": "100"}, "flag: gate.min_pairs: gate.file is set too"},
		"a document with a mistake": {"gate:\n  file: " + write(t, "\n\nmargn: 1\n") + "\n", nil, ":3: unknown key margn; did you mean margin?"},
		"a document that is gone":   {"gate:\n  file: " + gate + ".gone\n", nil, ".gone: stat"},
	} {
		_, _, err := load(tt.text, tt.flags)
		if !errors.Is(err, driftgate.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if g := Default().Gate.Document(); g.MinPairs != 100 || len(g.Suites) != 0 {
		t.Errorf("built-in document %+v", g)
	}
}

// FuzzReadGate: whatever the bytes, a gate that is read is a valid one, and
// what is not is refused as invalid.
func FuzzReadGate(f *testing.F) {
	f.Add("margin: 0.1\nsuites: [{name: test}, {name: a, source: b/}]\n")
	f.Add("suites:\n  - name: heldout\n    floor: .5\n  - 7\n  - [a]\nfloors: 3\n")
	f.Add("suites: {name: test}\n--- \nmargin: &a 1e-3\n")
	f.Fuzz(func(t *testing.T, text string) {
		g, err := ReadGate(write(t, text))
		if err != nil {
			if !errors.Is(err, driftgate.ErrInvalid) {
				t.Fatalf("%v for %q", err, text)
			}
			return
		}
		if err := g.Validate(); err != nil {
			t.Fatalf("%v was read from %q", err, text)
		}
		if back, err := ReadGate(write(t, FormatGate(g))); err != nil || !reflect.DeepEqual(back.WithDefaults(), g.WithDefaults()) {
			t.Fatalf("%q comes back as %+v, %v", text, back, err)
		}
	})
}
