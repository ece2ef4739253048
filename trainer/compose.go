package trainer

import (
	"cmp"
	"maps"
	"slices"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/network"
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

// Composition is the account of a training set that ends in its manifest.
type Composition = network.Composition

// Compose picks the production samples to train on, by id: those labelled by
// people, and those under the model's own label when it was confident enough
// and neither a user nor ProxyUntil objected. Human labels win over proxy labels
// of the same id, the newest over older ones. When there are more than wanted,
// those with most to teach win ([Active]). A held-out id is never among them.
func Compose(records []ledger.Record, classes dg.Classes, buckets objstore.Buckets, o Options) []Example {
	examples, _ := ComposeReport(records, classes, buckets, o)
	return examples
}

// ComposeReport is [Compose] with the account of what was left out; the
// training completes it with what only it can know.
func ComposeReport(records []ledger.Record, classes dg.Classes, buckets objstore.Buckets, o Options) ([]Example, Composition) {
	var c Composition
	c.Labelling.Records = len(records)
	c.Evaluation.Holdout, c.Evaluation.HeldByClass = o.Holdout, make([]int, len(classes))
	unknown := map[string]bool{}
	chosen := map[string]candidate{}
	for _, r := range records {
		e, why := example(r, classes, buckets, o)
		if why != used {
			leaveOut(&c, why)
			switch {
			case why == unknownLabel:
				unknown[e.Label] = true
			case why == held && r.State == ledger.Labelled && classes.Index(r.Label) >= 0:
				c.Evaluation.HeldByClass[classes.Index(r.Label)]++
			}
			continue
		}
		next := candidate{e, r}
		if old, ok := chosen[e.ID]; ok {
			c.Labelling.Duplicate++
			if old.beats(next) {
				continue
			}
		}
		chosen[e.ID] = next
	}
	c.Labelling.UnknownLabels = slices.Sorted(maps.Keys(unknown))
	c.Labelling.UnknownLabels = c.Labelling.UnknownLabels[:min(len(unknown), maxNamed)]
	kept := make([]candidate, 0, len(chosen))
	for _, id := range slices.Sorted(maps.Keys(chosen)) {
		kept = append(kept, chosen[id])
	}
	kept = prefer(kept, o, &c.Active)
	return weigh(kept, o, &c), c
}

// maxNamed bounds the lists of names in an account.
const maxNamed = 100

// weigh turns what was kept into examples: disagreement takes weight off, weak
// slices put some on.
func weigh(kept []candidate, o Options, c *Composition) []Example {
	weak := newWeak(o.Quality)
	out := make([]Example, 0, len(kept))
	for _, k := range kept {
		e := k.Example
		if share := k.behind(); e.Source == dg.HumanLabel && share < 1 && o.Disagreement > 0 {
			e.Weight *= 1 - o.Disagreement*(1-share)
			c.Labelling.Disputed++
		}
		e.Weight *= weak.factor(traitsOf(e, k.record))
		if out = append(out, e); e.Source == dg.HumanLabel {
			c.Labelling.Human++
		} else {
			c.Labelling.Proxy++
		}
	}
	c.Quality.Weak = weak.account
	return out
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

// behind is the share of the people asked who stand behind the label, at most:
// votes say how many named the model's class, so where the label is another one
// all others count for it. At least one does.
func (a candidate) behind() float64 {
	v := a.record.Votes
	if v.Of == 0 {
		return 1
	}
	n := v.Agree
	if a.Label != a.record.PredictedClass {
		n = v.Of - v.Agree
	}
	return float64(max(1, n)) / float64(v.Of)
}

// why says what keeps a record out; zero is nothing.
type why uint8

const (
	used why = iota
	held
	unlabelled
	unwanted
	knownError
	doubted
	lowConfidence
	unknownLabel
)

func leaveOut(c *Composition, w why) {
	l := &c.Labelling
	*map[why]*int{
		held: &c.Evaluation.Held, unlabelled: &l.Unlabelled, unwanted: &l.Source, knownError: &c.Quality.KnownErrors,
		doubted: &l.Doubted, lowConfidence: &l.LowConfidence, unknownLabel: &l.UnknownLabel,
	}[w]++
}

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
	default:
		return e, unlabelled
	}
	if len(o.Sources) > 0 && !slices.Contains(o.Sources, string(e.Source)) {
		return e, unwanted
	}
	if e.Source == dg.ProxyLabel {
		switch {
		case r.Flagged || r.CorrectedClass != "":
			return e, knownError
		case !o.ProxyUntil.IsZero() && !r.Timestamp.Before(o.ProxyUntil):
			return e, doubted
		case !(r.Confidence >= o.MinProxyConfidence) || !(o.ProxyWeight > 0): // a missing confidence is NaN
			return e, lowConfidence
		}
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
