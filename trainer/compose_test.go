package trainer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
)

var buckets = objstore.DefaultBuckets("")

// composing is DefaultOptions without a holdout, so that tables can say what
// happens to each record.
func composing() Options {
	o := DefaultOptions()
	o.Holdout, o.HumanWeight, o.ProxyWeight, o.MinProxyConfidence = 0, 3, 0.25, 0.9
	return o
}

func proxy(id, class string, confidence float64) ledger.Record {
	return ledger.Record{State: ledger.Noisy, Placed: true, Sample: dg.Sample{
		Key: "class_07/" + id, PredictedClass: class, Confidence: confidence}}
}

func human(id, label string, at int64) ledger.Record {
	return ledger.Record{State: ledger.Labelled, Label: label, Sample: dg.Sample{
		Key: "class_07/" + id, PredictedClass: "Sneaker", Confidence: 0.4, Flagged: true,
		LabelSource: dg.HumanLabel, LabelledAt: time.Unix(at, 0)}}
}

// counts are where the records of a composition went: each is in one of them.
type counts struct {
	Human, Proxy, Held, Unlabelled, Source, Doubted, KnownErrors, LowConfidence, UnknownLabel, Duplicate, LeftOut int

	UnknownLabels string
}

func countsOf(c Composition) counts {
	l := c.Labelling
	return counts{l.Human, l.Proxy, c.Evaluation.Held, l.Unlabelled, l.Source, l.Doubted, c.Quality.KnownErrors, l.LowConfidence, l.UnknownLabel, l.Duplicate, c.Active.LeftOut,
		strings.Join(l.UnknownLabels, " ")}
}

func (c counts) sum() int {
	return c.Human + c.Proxy + c.Held + c.Unlabelled + c.Source + c.Doubted + c.KnownErrors + c.LowConfidence + c.UnknownLabel + c.Duplicate + c.LeftOut
}

func TestCompose(t *testing.T) {
	with := func(r ledger.Record, f func(*ledger.Record)) ledger.Record { f(&r); return r }
	foreign := with(human("f.png", "Bag", 0), func(r *ledger.Record) { r.LabelSource, r.LabelledAt = "", time.Time{} })
	proxyBag := Example{"a.png", buckets.Noisy, "class_07/a.png", "Bag", 0.25, dg.ProxyLabel}
	humanBag := Example{"a.png", buckets.Noisy, "class_08/a.png", "Bag", 3, dg.HumanLabel}
	for _, tt := range []struct {
		name string
		in   []ledger.Record
		want []Example
		made counts
	}{
		{"a confident proxy label counts little, under its own key", []ledger.Record{proxy("a.png", "Bag", 0.95)}, []Example{proxyBag}, counts{Proxy: 1}},
		{"a human label counts much, under the human class", []ledger.Record{human("a.png", "Bag", 5)}, []Example{humanBag}, counts{Human: 1}},
		{"the old DAG's labels are human", []ledger.Record{foreign}, []Example{{"f.png", buckets.Noisy, "class_08/f.png", "Bag", 3, dg.HumanLabel}}, counts{Human: 1}},
		{"a proxy label at the threshold is used", []ledger.Record{proxy("a.png", "Bag", 0.9)}, []Example{proxyBag}, counts{Proxy: 1}},
		{"an unsure proxy label is not", []ledger.Record{proxy("a.png", "Bag", 0.899)}, nil, counts{LowConfidence: 1}},
		{"a proxy label without confidence is not", []ledger.Record{proxy("a.png", "Bag", math.NaN())}, nil, counts{LowConfidence: 1}},
		{"a proxy label that a user flagged is not", []ledger.Record{with(proxy("a.png", "Bag", 1), func(r *ledger.Record) { r.Flagged = true })}, nil, counts{KnownErrors: 1}},
		{"a proxy label that a user corrected is not", []ledger.Record{with(proxy("a.png", "Bag", 1), func(r *ledger.Record) { r.CorrectedClass = "Coat" })}, nil, counts{KnownErrors: 1}},
		{"an undecided sample is not", []ledger.Record{with(proxy("a.png", "Bag", 1), func(r *ledger.Record) { r.State = ledger.New })}, nil, counts{Unlabelled: 1}},
		{"a waiting sample is not", []ledger.Record{with(proxy("a.png", "Bag", 1), func(r *ledger.Record) { r.State = ledger.Waiting })}, nil, counts{Unlabelled: 1}},
		{"unknown labels are named", []ledger.Record{human("a.png", "Hat", 1), proxy("b.png", "Glove", 1), human("c.png", "Hat", 1)}, nil,
			counts{UnknownLabel: 3, UnknownLabels: "Glove Hat"}},
		{"human wins over proxy, whatever the order", []ledger.Record{human("a.png", "Bag", 5), proxy("a.png", "Coat", 1)}, []Example{humanBag}, counts{Human: 1, Duplicate: 1}},
		{"and in the other order", []ledger.Record{proxy("a.png", "Coat", 1), human("a.png", "Bag", 5)}, []Example{humanBag}, counts{Human: 1, Duplicate: 1}},
		{"the newer human label wins", []ledger.Record{human("a.png", "Bag", 5), human("a.png", "Coat", 4)}, []Example{humanBag}, counts{Human: 1, Duplicate: 1}},
		{"by id", []ledger.Record{proxy("b.png", "Bag", 1), human("a.png", "Bag", 5)},
			[]Example{humanBag, {"b.png", buckets.Noisy, "class_07/b.png", "Bag", 0.25, dg.ProxyLabel}}, counts{Human: 1, Proxy: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, account := ComposeReport(tt.in, dg.FashionMNIST, buckets, composing())
			made := countsOf(account)
			if len(got) != len(tt.want) || (len(got) > 0 && !reflect.DeepEqual(got, tt.want)) {
				t.Errorf("composed %+v\nwant %+v", got, tt.want)
			}
			if made != tt.made {
				t.Errorf("counted %+v\nwant %+v", made, tt.made)
			}
		})
	}
}

func TestProxyWeightZeroLeavesProxiesOut(t *testing.T) {
	o := composing()
	o.ProxyWeight = 0
	if got := Compose([]ledger.Record{proxy("a.png", "Bag", 1), human("b.png", "Bag", 1)}, dg.FashionMNIST, buckets, o); len(got) != 1 || got[0].ID != "b.png" {
		t.Errorf("composed %+v, want the human label alone", got)
	}
}

func TestProxyLabelsEndWhereTheModelIsKnownToFail(t *testing.T) {
	o := composing()
	o.ProxyUntil = time.Unix(100, 0)
	at := func(r ledger.Record, sec int64) ledger.Record { r.Timestamp = time.Unix(sec, 0); return r }
	got, c := ComposeReport([]ledger.Record{
		at(proxy("before.png", "Bag", 1), 99), at(proxy("then.png", "Bag", 1), 100), at(human("after.png", "Bag", 1), 101),
	}, dg.FashionMNIST, buckets, o)
	if len(got) != 2 || got[0].ID != "after.png" || got[1].ID != "before.png" || c.Labelling.Doubted != 1 {
		t.Errorf("composed %+v, %+v; want the human label and the proxy from before", got, c)
	}
}

// Whatever the input: no held-out id, no id twice, no unknown label, no weight
// that is not positive; every record is in one count; order does not matter.
func TestComposeNeverBreaksItsPromises(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		o := composing()
		o.Holdout = []float64{0, 0.2, 0.5, 0.99}[rng.IntN(4)]
		o.MinProxyConfidence = rng.Float64()
		o.Sources = [][]string{nil, nil, {"human"}, {"proxy"}}[rng.IntN(4)]
		o.Disagreement = float64(rng.IntN(2))
		o.Active = Active{MaxProduction: rng.IntN(3) * 20, Prefer: []string{Uncertain, Surprising}[rng.IntN(2)], Random: rng.Float64()}
		o.Quality.Weak = [][]string{nil, {"class=Bag", "predicted=Coat", "source=random", "class+confidence=Bag+0.00-0.50"}}[rng.IntN(2)]
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
		var records []ledger.Record
		for range rng.IntN(300) {
			records = append(records, randomRecord(rng))
		}
		got, c := ComposeReport(records, dg.FashionMNIST, buckets, o)
		if o.Active.MaxProduction > 0 && len(got) > o.Active.MaxProduction {
			t.Fatalf("seed %d: %d samples, want at most %d", seed, len(got), o.Active.MaxProduction)
		}
		seen := map[string]bool{}
		for _, e := range got {
			switch {
			case dg.Held(e.ID, o.Holdout):
				t.Fatalf("seed %d: held-out id %s is trained on", seed, e.ID)
			case seen[e.ID]:
				t.Fatalf("seed %d: id %s twice", seed, e.ID)
			case dg.FashionMNIST.Index(e.Label) < 0:
				t.Fatalf("seed %d: label %q", seed, e.Label)
			case !(e.Weight > 0):
				t.Fatalf("seed %d: weight %g", seed, e.Weight)
			}
			seen[e.ID] = true
		}
		if n := countsOf(c); n.sum() != len(records) || c.Labelling.Records != len(records) || n.Human+n.Proxy != len(got) {
			t.Fatalf("seed %d: %+v accounts for %d of %d records", seed, n, n.sum(), len(records))
		}
		rng.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		if again := Compose(records, dg.FashionMNIST, buckets, o); !reflect.DeepEqual(again, got) {
			t.Fatalf("seed %d: the order of the records changed the set", seed)
		}
	}
}

func randomRecord(rng *rand.Rand) ledger.Record {
	labels := append([]string{"", "Hat"}, dg.FashionMNIST...)
	r := ledger.Record{
		State: ledger.States[rng.IntN(len(ledger.States))], Label: labels[rng.IntN(len(labels))],
		Sample: dg.Sample{
			Key: dg.SampleKey(rng.IntN(10), fmt.Sprintf("%d.png", rng.IntN(200))), PredictedClass: labels[rng.IntN(len(labels))],
			Confidence: rng.Float64(), Flagged: rng.IntN(4) == 0, LabelledAt: time.Unix(int64(rng.IntN(5)), 0),
			LabelSource: []dg.LabelSource{"", dg.HumanLabel, dg.ProxyLabel}[rng.IntN(3)],
		},
	}
	if rng.IntN(10) == 0 {
		r.Confidence = math.NaN()
	}
	if rng.IntN(3) == 0 {
		r.Votes.Of = 2 + rng.IntN(4)
		r.Votes.Agree = rng.IntN(r.Votes.Of + 1)
	}
	return r
}
