package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// openBatch is how many samples are weighed at once.
const openBatch = 200

// open weighs every sample that has an object pending or vanished.
func (p *pass) open(ctx context.Context) error {
	after := ""
	for {
		ids, err := p.c.ledger.OpenObjects(ctx, after, openBatch)
		if err != nil || len(ids) == 0 {
			return err
		}
		after = ids[len(ids)-1]
		if err := p.refresh(ctx, ids, nil); err != nil {
			return err
		}
	}
}

// unlisted asks after the objects that the ledger's samples ought to have and
// no listing has shown: they were removed before one could, or came after it.
func (p *pass) unlisted(ctx context.Context) error {
	after := ""
	for {
		records, err := p.c.ledger.Unlisted(ctx, p.c.buckets.Production, p.c.buckets.Clean, after, openBatch)
		if err != nil || len(records) == 0 {
			return err
		}
		after = records[len(records)-1].ID()
		ids := make([]string, len(records))
		for i, r := range records {
			ids[i] = r.ID()
		}
		rows, err := p.c.ledger.ObjectsOf(ctx, ids...)
		if err != nil {
			return err
		}
		supposed := map[string][]ledger.Object{}
		for _, r := range records {
			if o := p.supposed(r, rows[r.ID()]); len(o) > 0 {
				supposed[r.ID()] = o
			}
		}
		ids = slices.DeleteFunc(ids, func(id string) bool { return supposed[id] == nil })
		if err := p.refresh(ctx, ids, supposed); err != nil {
			return err
		}
	}
}

// supposed are the objects that a sample must have and the ledger does not
// remember, as if they had vanished.
func (p *pass) supposed(r ledger.Record, rows []ledger.Object) (out []ledger.Object) {
	lacks := func(bucket string) bool {
		return !slices.ContainsFunc(rows, func(o ledger.Object) bool { return o.Bucket == bucket })
	}
	b := p.c.buckets
	if r.InProduction && lacks(b.Production) {
		out = append(out, ledger.Object{Bucket: b.Production, Key: r.Key, Status: ledger.ObjectVanished})
	}
	if r.State == ledger.Labelled && lacks(b.Clean) {
		if n, ok := p.c.directory(r.Label); ok {
			out = append(out, ledger.Object{Bucket: b.Clean, Key: dg.SampleKey(n, r.ID()), Status: ledger.ObjectVanished})
		}
	}
	return out
}

// news is what the buckets turn out to show of one sample now.
type news struct {
	id    string
	known *ledger.Record
	rows  []ledger.Object // remembered or supposed

	shown
	put, drop []ledger.Object
	faults    []fault
}

type fault struct {
	row  ledger.Object
	tags map[string]string
	err  error
}

// refresh looks at all that the buckets show of each sample, and changes the
// ledger accordingly.
func (p *pass) refresh(ctx context.Context, ids []string, supposed map[string][]ledger.Object) error {
	records, err := p.c.ledger.Records(ctx, ids...)
	if err != nil {
		return err
	}
	rows, err := p.c.ledger.ObjectsOf(ctx, ids...)
	if err != nil {
		return err
	}
	all := make([]*news, len(ids))
	for i, id := range ids {
		all[i] = &news{id: id, rows: append(rows[id], supposed[id]...)}
		if r, ok := records[id]; ok {
			all[i].known = &r
		}
	}
	if err := concurrently(ctx, all, p.look); err != nil {
		return err
	}
	changes := make([]ledger.Change, len(all))
	for i, n := range all {
		for _, f := range n.faults {
			n.put = append(n.put, p.side(f.row.Bucket).faulty(f.row, f.tags, f.err))
		}
		changes[i] = ledger.Change{ID: n.id, Old: n.known, Next: p.c.next(n), Put: n.put, Drop: n.drop}
	}
	done, err := p.c.ledger.Apply(ctx, changes...)
	for i, ok := range done {
		if ok {
			p.tell(all[i], changes[i].Next)
		}
	}
	return err
}

// next is the record after the news; nil: the sample is forgotten.
func (c *Catalog) next(n *news) *ledger.Record {
	next, ok := c.fold(n.shown)
	switch {
	case n.known != nil:
		return weighed(*n.known, next, ok)
	case ok:
		return &next
	}
	return nil
}

// tell counts what came of the news.
func (p *pass) tell(n *news, next *ledger.Record) {
	for _, o := range n.drop {
		s := p.side(o.Bucket)
		s.report.Vanished++
		s.c.metrics.objects.WithLabelValues(s.name, isVanished).Inc()
	}
	if next == nil {
		return
	}
	was := ledger.Record{}
	if n.known != nil {
		was = *n.known
	}
	switch {
	case next.InProduction && !was.InProduction:
		p.sides[0].count(false)
	case next.InProduction && (next.Flagged != was.Flagged || next.CorrectedClass != was.CorrectedClass || next.Key != was.Key):
		p.sides[0].count(true)
	}
	if next.State == ledger.Labelled && (was.State != ledger.Labelled || next.Label != was.Label ||
		next.LabelledAt.Unix() != was.LabelledAt.Unix() || next.Votes != was.Votes || next.LabelSource != was.LabelSource) {
		p.sides[1].count(n.known != nil)
	}
}

// look reads what production and clean still have of a sample, and then the
// copies that a decision on it left.
func (p *pass) look(ctx context.Context, n *news) error {
	for _, row := range n.rows {
		s := p.side(row.Bucket)
		if s == nil {
			continue // of a bucket that is ours no more
		}
		if row.Status == ledger.ObjectVanished {
			o, err := p.c.store.Stat(ctx, row.Bucket, row.Key)
			if errors.Is(err, dg.ErrNotFound) {
				n.drop = append(n.drop, row)
				continue
			}
			if err != nil {
				return fmt.Errorf("confirm that %s/%s is gone: %w", row.Bucket, row.Key, err)
			}
			row.ETag, row.Modified = o.ETag, o.Modified
		}
		if err := p.lookAt(ctx, s, n, row); err != nil {
			return err
		}
	}
	if n.known != nil && len(n.production) > 0 && len(n.clean) == 0 &&
		(n.known.State == ledger.Waiting || n.known.State == ledger.Noisy) {
		return nil // the decision stands whatever the copies say
	}
	return p.lookAtCopies(ctx, n)
}

// lookAt reads one object of production or clean. One that can't be read any
// more (its tags were edited, or its class list is away) says what it said
// before, as the ledger has it.
func (p *pass) lookAt(ctx context.Context, s *side, n *news, row ledger.Object) error {
	tags, err := s.readOne(ctx, row.Key)
	if err != nil {
		return err
	}
	if tags == nil {
		n.drop = append(n.drop, row)
		return nil
	}
	row.Status, row.Tags = ledger.ObjectEntered, digest(tags)
	sample, err := dg.ParseSample(row.Key, tags)
	var f ledger.ForeignLabel
	if err == nil && s.name == inClean {
		f, err = p.c.foreignLabel(sample, row.Modified)
	}
	if err != nil {
		n.faults = append(n.faults, fault{row, tags, err})
		if !n.saidBefore(s, row) {
			return nil
		}
		sample = n.known.Sample
		sample.Key = row.Key
		f = ledger.ForeignLabel{Sample: sample, Label: n.known.Label, Interval: n.known.Interval}
	} else {
		n.put = append(n.put, row)
	}
	if s.name == inProduction {
		n.production = append(n.production, sample)
	} else {
		n.clean = append(n.clean, f)
	}
	return nil
}

// saidBefore reports whether it is this object that the ledger has the
// prediction, or the label, from.
func (n *news) saidBefore(s *side, row ledger.Object) bool {
	switch {
	case n.known == nil:
		return false
	case s.name == inProduction:
		return n.known.InProduction && n.known.Key == row.Key
	}
	labels := 0
	for _, o := range n.rows {
		if o.Bucket == s.bucket {
			labels++
		}
	}
	return n.known.State == ledger.Labelled && labels == 1
}

// readOne reads the tags of one object: nil if it is gone.
func (s *side) readOne(ctx context.Context, key string) (map[string]string, error) {
	s.c.metrics.tags.WithLabelValues(s.name).Inc()
	s.asked.Add(1)
	return s.c.tags(ctx, s.bucket, key)
}

// lookAtCopies reads the copies in label-wait and noisy, under every key that
// they may have: the prediction's, and in noisy the labels'.
func (p *pass) lookAtCopies(ctx context.Context, n *news) error {
	predicted, all := map[string]bool{}, map[string]bool{}
	if n.known != nil {
		predicted[n.known.Key] = true
		if d, ok := p.c.directory(n.known.Label); ok && n.known.State == ledger.Labelled {
			all[dg.SampleKey(d, n.id)] = true
		}
		if d, ok := p.c.directory(n.known.PredictedClass); ok {
			predicted[dg.SampleKey(d, n.id)] = true
		}
	}
	for _, row := range n.rows {
		if row.Bucket == p.c.buckets.Production {
			predicted[row.Key] = true
		}
		all[row.Key] = true
	}
	maps.Copy(all, predicted)
	for _, place := range []struct {
		bucket string
		keys   map[string]bool
		out    *[]dg.Sample
	}{{p.c.buckets.Waiting, predicted, &n.waiting}, {p.c.buckets.Noisy, all, &n.noisy}} {
		for _, key := range slices.Sorted(maps.Keys(place.keys)) {
			tags, err := p.c.tags(ctx, place.bucket, key)
			if err != nil {
				return err
			}
			if s, err := dg.ParseSample(key, tags); tags != nil && err == nil {
				*place.out = append(*place.out, s)
			}
		}
	}
	return nil
}
