package catalog

import (
	dg "driftgate"
	"driftgate/internal/ledger"
)

// shown is what the buckets show of one sample, each list in key order: those
// objects whose key and tags can be read.
type shown struct {
	production []dg.Sample
	clean      []ledger.ForeignLabel
	waiting    []dg.Sample
	noisy      []dg.Sample
}

// fold is the record that the buckets make of a sample; ok is false when they
// show nothing that is one. It is the whole of a rebuild, and what news are
// weighed by day to day, so that both end at the same.
//
// The prediction is what production says, its first object by key where several
// share a file name; where production has none, what the label's object says,
// or a copy. Flags add up over production's objects; of corrections the last by
// key counts. Of several labels the latest counts, of two at once the first by
// key. A copy that waits says that the sample was picked, an unlabelled one in
// noisy that it was not. The labelled copy that collect leaves in noisy, without
// its like in clean, says that the label was withdrawn: the sample is asked
// again if it lies in production, else it is forgotten.
func (c *Catalog) fold(s shown) (r ledger.Record, ok bool) {
	label, labelled := winner(s.clean)
	own, rest := c.copies(s)
	switch {
	case len(s.production) > 0:
		r = ledger.Unseen(s.production[0])
		r.InProduction = true
		for _, p := range s.production[1:] {
			r.Flagged = r.Flagged || p.Flagged
			if p.CorrectedClass != "" {
				r.CorrectedClass = p.CorrectedClass
			}
		}
	case labelled:
		r = ledger.Unseen(label.Sample)
	case len(s.waiting) > 0:
		r = ledger.Unseen(s.waiting[0])
	case len(own) > 0:
		r = ledger.Unseen(own[0])
	default:
		return r, false
	}
	switch {
	case len(s.waiting) > 0:
		r = c.decided(r, s.waiting[0], ledger.Waiting, true)
	case len(own) > 0:
		r = c.decided(r, own[0], ledger.Noisy, true)
	case labelled && label.Sample.Stratum != "": // as the label's tags say
	case len(rest) > 0 && rest[0].Stratum != "":
		r = c.decided(r, rest[0], ledger.Waiting, false)
	}
	if labelled {
		r = ledger.WithLabel(r, label)
	}
	return r, true
}

// decided is a record with the decision that a copy stands for.
func (c *Catalog) decided(r ledger.Record, s dg.Sample, state ledger.State, placed bool) ledger.Record {
	r.State, r.Selected, r.Placed = state, state == ledger.Waiting, placed
	r.Stratum, r.SamplingFraction, r.Interval = s.Stratum, s.SamplingFraction, c.interval(s)
	return r
}

// winner is the label that counts.
func winner(labels []ledger.ForeignLabel) (f ledger.ForeignLabel, ok bool) {
	for i, l := range labels {
		if i == 0 || l.Sample.LabelledAt.Unix() > f.Sample.LabelledAt.Unix() { // whole seconds, as tags have
			f = l
		}
	}
	return f, len(labels) > 0
}

// copies tells the copies in noisy that were made because the sample was not
// picked from those that came with a label: these carry its source, or lie in
// another class directory than the prediction.
func (c *Catalog) copies(s shown) (own, labelled []dg.Sample) {
	for _, n := range s.noisy {
		rekeyed := len(s.production) > 0 && n.Key != s.production[0].Key
		if n.LabelSource == dg.HumanLabel || rekeyed {
			labelled = append(labelled, n)
		} else {
			own = append(own, n)
		}
	}
	return own, labelled
}

// weighed is what a record becomes when the buckets show next of its sample;
// nil means that it is forgotten. What a prediction was, once the ledger knows
// it, no later tag rewrites; a decision of curate's stands, copied or not yet,
// as long as there is something left that it was made on.
func weighed(known ledger.Record, next ledger.Record, ok bool) *ledger.Record {
	if !ok {
		return nil
	}
	next.PredictedClass, next.Confidence, next.Timestamp = known.PredictedClass, known.Confidence, known.Timestamp
	if known.ModelVersion != "" {
		next.ModelVersion = known.ModelVersion
	}
	decided := known.State == ledger.Waiting || known.State == ledger.Noisy
	switch {
	case next.State == ledger.Labelled:
		if next.Stratum == "" && known.Stratum != "" { // decided, and labelled by foreign hands
			keepDecision(&next, known)
		}
	case decided && next.InProduction:
		keepDecision(&next, known)
		next.State, next.Placed = known.State, known.Placed
	case known.State == ledger.Labelled && next.State == ledger.New && known.Selected && next.InProduction:
		keepDecision(&next, known) // no copy is left of what was asked: ask again
		next.State, next.Placed = ledger.Waiting, false
	}
	return &next
}

func keepDecision(r *ledger.Record, known ledger.Record) {
	r.Stratum, r.SamplingFraction, r.Interval, r.Selected = known.Stratum, known.SamplingFraction, known.Interval, known.Selected
}
