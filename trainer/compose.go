package trainer

import (
	"cmp"
	"maps"
	"slices"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
)

// Example is one production sample to train on.
type Example struct {
	ID     string         `json:"id"`
	Bucket string         `json:"bucket"`
	Key    string         `json:"key"`
	Label  string         `json:"label"`
	Weight float64        `json:"weight"` // relative to a base sample's 1
	Source dg.LabelSource `json:"source"`
}

// Composition counts what became of the records that a training set was
// composed from: every record is in exactly one count.
type Composition struct {
	Human         int      `json:"human"`          // used, labelled by a person
	Proxy         int      `json:"proxy"`          // used, under the model's own label
	Held          int      `json:"held"`           // kept out for evaluation
	Unlabelled    int      `json:"unlabelled"`     // not decided on yet, or waiting for a person
	Doubted       int      `json:"doubted"`        // a proxy label that a user flagged or corrected, or from ProxyUntil on
	LowConfidence int      `json:"low_confidence"` // a proxy label below MinProxyConfidence, or with proxies left out
	UnknownLabel  int      `json:"unknown_label"`  // a label that is not in the class list
	Duplicate     int      `json:"duplicate"`      // the same id again
	UnknownLabels []string `json:"unknown_labels"` // which ones, sorted
}

// Compose picks the production samples to train on, by id: those labelled by
// people, and those under the model's own label when it was confident enough
// and neither a user nor ProxyUntil objected. Human labels win over proxy labels of the same id, the
// newest over older ones. A held-out id is never among them.
func Compose(records []ledger.Record, classes dg.Classes, buckets objstore.Buckets, o Options) []Example {
	examples, _ := ComposeReport(records, classes, buckets, o)
	return examples
}

// ComposeReport is [Compose] with the account of what was left out.
func ComposeReport(records []ledger.Record, classes dg.Classes, buckets objstore.Buckets, o Options) ([]Example, Composition) {
	var c Composition
	unknown := map[string]bool{}
	chosen := map[string]candidate{}
	for _, r := range records {
		e, why := example(r, classes, buckets, o)
		switch why {
		case held:
			c.Held++
		case unlabelled:
			c.Unlabelled++
		case doubted:
			c.Doubted++
		case lowConfidence:
			c.LowConfidence++
		case unknownLabel:
			c.UnknownLabel++
			unknown[e.Label] = true
		default:
			next := candidate{e, r}
			if old, ok := chosen[e.ID]; ok {
				c.Duplicate++
				if old.beats(next) {
					continue
				}
			}
			chosen[e.ID] = next
		}
	}
	c.UnknownLabels = slices.Sorted(maps.Keys(unknown))
	out := make([]Example, 0, len(chosen))
	for _, id := range slices.Sorted(maps.Keys(chosen)) {
		e := chosen[id].Example
		if out = append(out, e); e.Source == dg.HumanLabel {
			c.Human++
		} else {
			c.Proxy++
		}
	}
	return out, c
}

type candidate struct {
	Example
	record ledger.Record
}

// beats orders candidates of one id: human first, then the newest label, then
// by key, so that the order of the records does not matter.
func (a candidate) beats(b candidate) bool {
	if a.Source != b.Source {
		return a.Source == dg.HumanLabel
	}
	return cmp.Or(a.record.LabelledAt.Compare(b.record.LabelledAt), -cmp.Compare(a.Label, b.Label), -cmp.Compare(a.Key, b.Key)) >= 0
}

// why says what keeps a record out; zero is nothing.
type why uint8

const (
	used why = iota
	held
	unlabelled
	doubted
	lowConfidence
	unknownLabel
)

// example turns one record into an example. The holdout is asked before
// anything else.
func example(r ledger.Record, classes dg.Classes, buckets objstore.Buckets, o Options) (Example, why) {
	id := r.ID()
	e := Example{ID: id, Bucket: buckets.Noisy, Key: r.Key}
	switch {
	case dg.Held(id, o.Holdout):
		return e, held
	case r.State == ledger.Labelled && r.LabelSource != dg.ProxyLabel:
		e.Label, e.Weight, e.Source = r.Label, o.HumanWeight, dg.HumanLabel
	case r.State == ledger.Noisy:
		e.Label, e.Weight, e.Source = r.PredictedClass, o.ProxyWeight, dg.ProxyLabel
		if r.Flagged || r.CorrectedClass != "" || (!o.ProxyUntil.IsZero() && !r.Timestamp.Before(o.ProxyUntil)) {
			return e, doubted
		}
		if !(r.Confidence >= o.MinProxyConfidence) || !(o.ProxyWeight > 0) { // a missing confidence is NaN
			return e, lowConfidence
		}
	default:
		return e, unlabelled
	}
	class := classes.Index(e.Label)
	if class < 0 {
		return e, unknownLabel
	}
	if e.Source == dg.HumanLabel { // stored under the class that the person named
		e.Key = dg.SampleKey(class, id)
	}
	return e, used
}
