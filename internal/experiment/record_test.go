package experiment

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	dg "driftgate"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func sampleRecord(id string, accuracy float64) Record {
	return Record{ID: id, Kind: Retrain, Parent: "train-0", RunID: id, Version: "sha256:3fa91c7be20d00", State: Done, Verdict: "promote",
		Parameters: map[string]string{"start": "warm", "epochs": "10", "labelling.human_weight": "3.0"},
		Metrics:    map[string]float64{"test_accuracy": accuracy, "validation_accuracy": .9},
		Curves: map[string][]Point{"validation_accuracy": {{Step: 1, Value: .8, At: noon}, {Step: 2, Value: .91, At: noon.Add(time.Minute)}},
			"train_loss": {{Step: 1, Value: 1e-9}, {Step: 2, Value: 2.5e-7}}},
		Environment: map[string]string{"os": "linux", "cpus": "2"}, Tags: map[string]string{"baseline": "", "supplier": "new one"},
		Note: "first line\nsecond: \"quoted\", with, commas", StartedAt: noon, FinishedAt: noon.Add(time.Hour)}
}

func TestARecordSaysWhatIsWrongWithIt(t *testing.T) {
	if err := sampleRecord("a", .9).Validate(); err != nil {
		t.Fatal(err)
	}
	many := map[string]string{}
	for i := range MaxNames + 1 {
		many[fmt.Sprint("p", i)] = "x"
	}
	for name, spoil := range map[string]func(*Record){
		"id":          func(r *Record) { r.ID = "../a" },
		"kind":        func(r *Record) { r.Kind = "guess" },
		"state":       func(r *Record) { r.State = "" },
		"started_at":  func(r *Record) { r.StartedAt = time.Time{} },
		"finished_at": func(r *Record) { r.FinishedAt = noon.Add(-time.Second) },
		"error":       func(r *Record) { r.Error = strings.Repeat("x", MaxError+1) },
		"parameters":  func(r *Record) { r.Parameters = many },
		"name":        func(r *Record) { r.Parameters = map[string]string{"a b": "c"} },
		"environment": func(r *Record) { r.Environment = map[string]string{"a/../b": "c"} },
		"metrics.m":   func(r *Record) { r.Metrics = map[string]float64{"m": math.NaN()} },
		"metrics.n":   func(r *Record) { r.Metrics = map[string]float64{"n": math.Inf(1)} },
		"curves.c":    func(r *Record) { r.Curves = map[string][]Point{"c": {{Step: 2}, {Step: 2}}} },
		"tags":        func(r *Record) { r.Tags = map[string]string{"t": strings.Repeat("x", MaxValue+1)} },
		"note":        func(r *Record) { r.Note = "a\x00b" },
	} {
		r := sampleRecord("a", .9)
		spoil(&r)
		if err := r.Validate(); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "want") {
			t.Errorf("%s: %v, want invalid with its name and what is right", name, err)
		}
	}
}

func TestAnyTextBecomesAName(t *testing.T) {
	for in, want := range map[string]string{"T-shirt/top": "T-shirt_top", "": "_", "..": "_", "a..b": "a._b", "-x": "_x", "a.": "a", "größe": "gr__e", "ok.name-1": "ok.name-1"} {
		if got := Name(in); got != want || !nameForm.MatchString(got) {
			t.Errorf("Name(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"", "..", "a/b", "\xff.", strings.Repeat(".é", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := Record{ID: "a", Kind: Train, State: Done, StartedAt: noon, Metrics: Finite(map[string]float64{s: 1}), Parameters: map[string]string{Name(s): Clip(s, MaxValue)}}
		if err := r.Validate(); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if again := Name(Name(s)); again != Name(s) {
			t.Errorf("%q: a name's name is %q, not %q", s, again, Name(s))
		}
	})
}

func TestLeavesOfADocumentBecomeParameters(t *testing.T) {
	into := map[string]string{}
	Flatten(into, "", map[string]any{"epochs": 8, "hidden": []int{128, 64}, "active": map[string]any{"cap": 0.5, "on": true}, "none": nil, "empty": "",
		"by class": map[string]any{"T-shirt/top": 2}, "list": []any{map[string]any{"a": 1}}})
	want := map[string]string{"epochs": "8", "hidden": "128,64", "active.cap": "0.5", "active.on": "true", "by_class.T-shirt_top": "2", "list": `{"a":1}`}
	if fmt.Sprint(into) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", into, want)
	}
}

func TestClippedTextStaysReadable(t *testing.T) {
	for _, s := range []string{"short", strings.Repeat("é", 100), "a\xffb\x00c"} {
		if got := Clip(s, 50); len(got) > 50 || !writable(got) {
			t.Errorf("Clip(%q) = %q", s, got)
		}
	}
}
