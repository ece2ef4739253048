package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
)

const (
	batchSize  = 1000           // objects compared with the ledger, and entered, at once
	tagReaders = 16             // requests about single objects under way at once
	freshFor   = 24 * time.Hour // for so long after its upload an incomplete object is looked at in every pass
	emptied    = 100            // an empty bucket of which the ledger knows so many samples is a mistake
)

// Reconcile brings what production and clean hold into the ledger, and takes
// back what they hold no more: a merge of each bucket's listing, which comes in
// key order, with the objects known. Tags are read of new and changed objects,
// and of those that were incomplete; an object that the ledger knows by its own
// service is entered without. Every TagsEvery the tags of known objects are
// looked at as well, for flags, corrections and labels edited by other hands:
// from the listing where it brings them, else TagsAtOnce by request, in
// rotation; and so is what the ledger has and no listing ever showed.
//
// A missing object counts as gone once a request of its own has said so. A
// bucket that suddenly is empty is refused ([driftgate.ErrRefused]) rather than
// believed. What a broken pass entered stays entered, and what it left open is
// done by the next.
func (c *Catalog) Reconcile(ctx context.Context) (Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var r Report
	began := time.Now()
	p := &pass{c: c, r: &r, now: c.o.Now()}
	p.sides = [2]*side{
		{pass: p, name: inProduction, bucket: c.buckets.Production, report: &r.Production},
		{pass: p, name: inClean, bucket: c.buckets.Clean, report: &r.Clean},
	}
	p.again = c.tagsRead.IsZero() || p.now.Sub(c.tagsRead) >= c.o.TagsEvery
	err := p.run(ctx)
	for _, s := range p.sides {
		s.report.TagsRead = int(s.asked.Load())
	}
	r.Seconds = time.Since(began).Seconds()
	if err != nil {
		return r, fmt.Errorf("catalog: reconcile: %w", err)
	}
	if p.again {
		c.tagsRead = p.now
	}
	return r, nil
}

// pass is one Reconcile under way.
type pass struct {
	c     *Catalog
	r     *Report
	now   time.Time
	again bool // known tags are read again
	sides [2]*side
}

func (p *pass) run(ctx context.Context) error {
	if err := p.c.relearn(ctx); err != nil {
		return err
	}
	for _, s := range p.sides {
		if err := s.scan(ctx); err != nil {
			return err
		}
	}
	if p.again {
		if err := p.unlisted(ctx); err != nil {
			return err
		}
	}
	return p.open(ctx)
}

// side is one of the two buckets in a pass.
type side struct {
	*pass
	name   string // as metrics have it
	bucket string
	report *BucketReport
	asked  atomic.Int64 // requests for tags
	left   int          // requests that the rotation may still make
	upTo   string       // key up to which the rotation has come
}

// side returns the side of a bucket, nil for another bucket.
func (p *pass) side(bucket string) *side {
	for _, s := range p.sides {
		if s.bucket == bucket {
			return s
		}
	}
	return nil
}

// item is a listed object with what the ledger remembers of it.
type item struct {
	objstore.Object
	row   ledger.Object
	known bool
}

// scan merges the bucket's listing with the objects known of it. What is plain
// is entered at once, the rest is marked for [pass.open].
func (s *side) scan(ctx context.Context) error {
	list := s.c.store.List(ctx, s.bucket, "", false)
	if s.again {
		list, s.left, s.upTo = s.c.store.ListCheap(ctx, s.bucket, ""), s.c.o.TagsAtOnce, s.c.read[s.bucket]
	}
	known := &knownObjects{ledger: s.c.ledger, bucket: s.bucket}
	var batch []item
	var gone []ledger.Object
	last := ""
	for o, err := range list {
		if err != nil {
			return err
		}
		if o.Key <= last {
			return fmt.Errorf("listing of %s is not in the order of its keys: %q after %q", s.bucket, o.Key, last)
		}
		last = o.Key
		s.report.Listed++
		row, found, err := known.upTo(ctx, o.Key, &gone)
		if err != nil {
			return err
		}
		if i := (item{o, row, found}); s.wanted(i) {
			batch = append(batch, i)
		}
		if len(batch) >= batchSize || len(gone) >= batchSize {
			if err := s.flush(ctx, &batch, &gone); err != nil {
				return err
			}
		}
	}
	if err := s.believable(ctx); err != nil {
		return err
	}
	for more := true; more; {
		var err error
		if more, err = known.rest(ctx, &gone); err != nil {
			return err
		}
		if err := s.flush(ctx, &batch, &gone); err != nil {
			return err
		}
	}
	if s.again {
		if s.c.read[s.bucket] = s.upTo; s.left > 0 {
			s.c.read[s.bucket] = "" // came to the end: from the start next time
		}
	}
	return nil
}

// believable refuses an empty listing where there were many samples: more
// likely somebody named another bucket than removed them all.
func (s *side) believable(ctx context.Context) error {
	if s.report.Listed > 0 {
		return nil
	}
	n, err := s.c.ledger.Placements(ctx)
	if err != nil {
		return err
	}
	if known := map[string]int{inProduction: n.Production, inClean: n.Labelled}[s.name]; known >= emptied {
		return fmt.Errorf("bucket %s is empty, though the ledger has %d samples of it: if that is meant, rebuild the ledger: %w",
			s.bucket, known, dg.ErrRefused)
	}
	return nil
}

// wanted reports whether a listed object is to be looked at; one that is not is
// counted as what it was.
func (s *side) wanted(i item) bool {
	switch {
	case !i.known, i.row.ETag != i.ETag, !i.row.Modified.Equal(i.Modified):
		return true
	}
	switch i.row.Status {
	case ledger.ObjectPending:
		return false // its turn comes in any case
	case ledger.ObjectVanished:
		return true
	case ledger.ObjectIncomplete:
		if s.again || s.now.Sub(i.Modified) < freshFor {
			return true
		}
		s.report.Incomplete++
		return false
	case ledger.ObjectMalformed:
		if s.again {
			return true
		}
		s.report.Malformed++
		return false
	case ledger.ObjectClassless:
		n, _, err := dg.ParseKey(i.Key)
		if err == nil {
			_, err = s.c.label(n)
		}
		if err == nil || s.again {
			return true
		}
		s.report.Classless++
		return false
	}
	switch {
	case !s.again:
		return false
	case i.Tags != nil:
		return digest(i.Tags) != i.row.Tags
	case s.left > 0 && i.Key > s.upTo: // the server does not list tags
		s.left--
		s.upTo = i.Key
		return true
	}
	return false
}

// flush enters a batch, remembers what vanished, and empties both.
func (s *side) flush(ctx context.Context, batch *[]item, gone *[]ledger.Object) error {
	if len(*batch) > 0 {
		if err := s.enter(ctx, *batch); err != nil {
			return err
		}
	}
	var ids []string
	for i := range *gone {
		if (*gone)[i].Status = ledger.ObjectVanished; s.name == inClean {
			ids = append(ids, (*gone)[i].ID())
		}
	}
	if err := s.c.ledger.ForgetPredictions(ctx, ids...); err != nil {
		return err
	}
	if err := s.c.ledger.PutObjects(ctx, *gone...); err != nil {
		return err
	}
	*batch, *gone = (*batch)[:0], (*gone)[:0]
	return nil
}

// digest tells sets of tags apart.
func digest(tags map[string]string) string {
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		fmt.Fprintf(h, "%q=%q\n", k, tags[k])
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// knownObjects walks over what the ledger remembers of a bucket, in key order,
// a page at a time.
type knownObjects struct {
	ledger *ledger.Ledger
	bucket string
	page   []ledger.Object
	after  string
	ended  bool
}

// more makes sure that there is a next object, unless there is none.
func (k *knownObjects) more(ctx context.Context) (err error) {
	if len(k.page) > 0 || k.ended {
		return nil
	}
	k.page, err = k.ledger.ObjectsAfter(ctx, k.bucket, k.after, batchSize)
	if err != nil {
		return err
	}
	if k.ended = len(k.page) < batchSize; len(k.page) > 0 {
		k.after = k.page[len(k.page)-1].Key
	}
	return nil
}

// upTo moves on to key: it returns what is known of it, and adds what is known
// of the keys before, which the listing has passed over, to gone.
func (k *knownObjects) upTo(ctx context.Context, key string, gone *[]ledger.Object) (row ledger.Object, found bool, err error) {
	for {
		if err := k.more(ctx); err != nil || len(k.page) == 0 || k.page[0].Key > key {
			return row, false, err
		}
		first := k.page[0]
		k.page = k.page[1:]
		if first.Key == key {
			return first, true, nil
		}
		if first.Status != ledger.ObjectVanished {
			*gone = append(*gone, first)
		}
	}
}

// rest adds the next page of what comes after the listing's end to gone; more
// reports whether there may be another.
func (k *knownObjects) rest(ctx context.Context, gone *[]ledger.Object) (more bool, err error) {
	if err := k.more(ctx); err != nil {
		return false, err
	}
	for _, o := range k.page {
		if o.Status != ledger.ObjectVanished {
			*gone = append(*gone, o)
		}
	}
	k.page = nil
	return !k.ended, nil
}

// statusOf is what a failure to read an object makes of it.
func statusOf(err error) ledger.ObjectStatus {
	switch {
	case errors.Is(err, errClassless):
		return ledger.ObjectClassless
	case errors.Is(err, dg.ErrIncomplete):
		return ledger.ObjectIncomplete
	}
	return ledger.ObjectMalformed
}
