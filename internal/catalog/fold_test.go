package catalog

import (
	"fmt"
	"math"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

func TestFold(t *testing.T) {
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	sample := func(key string, edit ...func(*dg.Sample)) dg.Sample {
		s := dg.Sample{Key: key, PredictedClass: "Dress", Confidence: .95, Timestamp: noon}
		for _, e := range edit {
			e(&s)
		}
		return s
	}
	low := func(s *dg.Sample) { s.Stratum, s.SamplingFraction = dg.LowConfidence, 1 }
	human := func(s *dg.Sample) { s.LabelSource = dg.HumanLabel }
	flag := func(s *dg.Sample) { s.Flagged = true }
	correct := func(class string) func(*dg.Sample) { return func(s *dg.Sample) { s.CorrectedClass = class } }
	label := func(key, class string, minutes int, edit ...func(*dg.Sample)) ledger.ForeignLabel {
		s := sample(key, edit...)
		s.LabelledAt = at(minutes)
		return ledger.ForeignLabel{Sample: s, Label: class, Interval: noon}
	}
	served := []dg.Sample{sample("class_03/a")}
	for _, tt := range []struct {
		name string
		in   shown
		want string // key, state, placed, selected, stratum, label, in production
	}{
		{"nothing is nothing", shown{}, ""},
		{"production alone is new", shown{production: served}, "class_03/a new false false   true"},
		{"a copy that waits was picked", shown{production: served, waiting: []dg.Sample{sample("class_03/a", low)}}, "class_03/a waiting true true low_confidence  true"},
		{"a copy in noisy was not", shown{production: served, noisy: []dg.Sample{sample("class_03/a", low)}}, "class_03/a noisy true false low_confidence  true"},
		{"label-wait outranks noisy", shown{production: served, waiting: []dg.Sample{sample("class_03/a", low)}, noisy: []dg.Sample{sample("class_03/a")}}, "class_03/a waiting true true low_confidence  true"},
		{"a label outranks every copy", shown{production: served, clean: []ledger.ForeignLabel{label("class_08/a", "Bag", 0)}, waiting: []dg.Sample{sample("class_03/a", low)}}, "class_03/a labelled true true low_confidence Bag true"},
		{"a label of an unknown image", shown{clean: []ledger.ForeignLabel{label("class_08/a", "Bag", 0)}}, "class_08/a labelled true false  Bag false"},
		{"a label brings its stratum", shown{production: served, clean: []ledger.ForeignLabel{label("class_08/a", "Bag", 0, low)}}, "class_03/a labelled true true low_confidence Bag true"},
		{"an unpicked sample that others label was not picked", shown{production: served, noisy: []dg.Sample{sample("class_03/a", low)}, clean: []ledger.ForeignLabel{label("class_08/a", "Bag", 0, low)}}, "class_03/a labelled true false low_confidence Bag true"},
		{"the later label counts", shown{production: served, clean: []ledger.ForeignLabel{label("class_04/a", "Coat", 1), label("class_08/a", "Bag", 2)}}, "class_03/a labelled true false  Bag true"},
		{"of two at once the first by key", shown{production: served, clean: []ledger.ForeignLabel{label("class_04/a", "Coat", 1), label("class_08/a", "Bag", 1)}}, "class_03/a labelled true false  Coat true"},
		{"a training copy without its label is asked again", shown{production: served, noisy: []dg.Sample{sample("class_08/a", low, human)}}, "class_03/a waiting false true low_confidence  true"},
		{"so is one under its own key", shown{production: served, noisy: []dg.Sample{sample("class_03/a", low, human)}}, "class_03/a waiting false true low_confidence  true"},
		{"one that others left is decided on anew", shown{production: served, noisy: []dg.Sample{sample("class_08/a")}}, "class_03/a new false false   true"},
		{"without its prediction it is forgotten", shown{noisy: []dg.Sample{sample("class_08/a", low, human)}}, ""},
		{"training material without its prediction is kept", shown{noisy: []dg.Sample{sample("class_03/a", low)}}, "class_03/a noisy true false low_confidence  false"},
		{"a sample moved to label-wait still waits", shown{waiting: []dg.Sample{sample("class_03/a", low)}}, "class_03/a waiting true true low_confidence  false"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCatalog(nil, nil, (&loop{}).buckets, Options{})
			got := ""
			if r, ok := c.fold(tt.in); ok {
				got = fmt.Sprintln(r.Key, r.State, r.Placed, r.Selected, r.Stratum, r.Label, r.InProduction)
				got = got[:len(got)-1]
			}
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
	r, _ := newCatalog(nil, nil, (&loop{}).buckets, Options{}).fold(shown{production: []dg.Sample{
		sample("class_01/a", correct("Bag")), sample("class_03/a", flag, correct("Coat")), sample("class_04/a", func(s *dg.Sample) { s.PredictedClass = "Coat" }),
	}})
	if r.Key != "class_01/a" || r.PredictedClass != "Dress" || !r.Flagged || r.CorrectedClass != "Coat" {
		t.Errorf("three predictions under one file name are %+v", r)
	}
}

func TestWeighed(t *testing.T) {
	known := ledger.Record{Sample: dg.Sample{Key: "class_03/a", PredictedClass: "Dress", Confidence: math.NaN(), Timestamp: noon, ModelVersion: "v1", Stratum: dg.Random, SamplingFraction: .1}, State: ledger.Waiting, Selected: true, InProduction: true}
	shown := ledger.Record{Sample: dg.Sample{Key: "class_03/a", PredictedClass: "Bag", Confidence: .5, Timestamp: noon.Add(1), ModelVersion: "v2", Flagged: true}, State: ledger.New, InProduction: true}
	got := weighed(known, shown, true)
	if got.PredictedClass != "Dress" || !math.IsNaN(got.Confidence) || !got.Timestamp.Equal(noon) || got.ModelVersion != "v1" {
		t.Errorf("the prediction was rewritten: %+v", got)
	}
	if got.State != ledger.Waiting || got.Placed || got.Stratum != dg.Random || !got.Flagged {
		t.Errorf("a decision that is not copied yet became %+v", got)
	}
	if got := weighed(known, shown, false); got != nil {
		t.Errorf("what no bucket shows became %+v", got)
	}
}
