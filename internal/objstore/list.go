package objstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/minio/minio-go/v7"

	dg "driftgate"
)

const (
	pageSize   = 1000 // objects asked for at once: S3's limit
	tagReaders = 16   // tag requests under way at once where listings carry no tags
)

// List yields the objects whose keys start with prefix, in key order, and stops
// after the first error. With withTags each has its Tags: from the listing
// where the server puts them there (MinIO and the embedded server do), else by
// a request each. An object deleted meanwhile is left out.
func (s *Store) List(ctx context.Context, bucket, prefix string, withTags bool) iter.Seq2[Object, error] {
	fill := func(page []Object) error { return nil }
	if withTags {
		fill = func(page []Object) error { return s.tagPage(ctx, bucket, page) }
	}
	return func(yield func(Object, error) bool) {
		s.list(ctx, bucket, prefix, withTags, fill, func(o Object, err error) bool {
			if err == nil && withTags && o.Tags == nil {
				return true // gone since it was listed
			}
			return yield(o, err)
		})
	}
}

// ListCheap is List with no requests but those for the listing: an object has
// Tags where the server puts them there, else nil, which says nothing of them.
// On a server that lists tags an object without any has an empty map, once the
// server has shown that it does.
func (s *Store) ListCheap(ctx context.Context, bucket, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		s.list(ctx, bucket, prefix, true, func(page []Object) error { s.untagged(page); return nil }, yield)
	}
}

// list lists page by page, fills each page in, and yields its objects. The next
// page is asked for while the present one is worked on.
func (s *Store) list(ctx context.Context, bucket, prefix string, withTags bool, fill func([]Object) error, yield func(Object, error) bool) {
	var failed error
	ctx, end := traced(ctx, "ListObjects", bucket)
	defer end(&failed)
	fail := func(err error) {
		failed = err
		yield(Object{}, fmt.Errorf("objstore: list %s/%s: %w", bucket, prefix, err))
	}
	work, cancel := context.WithCancel(ctx)
	ready := make(chan page, 1)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer cancel()
	reader.Go(func() {
		defer close(ready)
		s.pages(work, bucket, prefix, withTags, ready)
	})
	for p := range ready {
		if p.err == nil {
			p.err = fill(p.objects)
		}
		if p.err != nil {
			fail(p.err)
			return
		}
		for _, o := range p.objects {
			if !yield(o, nil) {
				return
			}
		}
	}
	if err := ctx.Err(); err != nil { // the client below just ends
		fail(err)
	}
}

// page is a part of a listing, or what ended it.
type page struct {
	objects []Object
	err     error
}

// pages sends a listing page by page, until its end, an error, or that of ctx.
func (s *Store) pages(ctx context.Context, bucket, prefix string, withTags bool, ready chan<- page) {
	send := func(p page) bool {
		select {
		case ready <- p:
			return true
		case <-ctx.Done():
			return false
		}
	}
	objects := make([]Object, 0, pageSize)
	for info := range s.repeat.ListObjectsIter(ctx, bucket, listOptions(prefix, withTags)) {
		if info.Err != nil {
			send(page{err: classify(info.Err)})
			return
		}
		o := object(info.Key, info)
		if len(info.UserTags) > 0 {
			o.Tags = info.UserTags
			s.listsTags.Store(true)
		}
		if objects = append(objects, o); len(objects) == pageSize {
			if !send(page{objects: objects}) {
				return
			}
			objects = make([]Object, 0, pageSize)
		}
	}
	if len(objects) > 0 && ctx.Err() == nil {
		send(page{objects: objects})
	}
}

func listOptions(prefix string, withTags bool) minio.ListObjectsOptions {
	owner := false
	return minio.ListObjectsOptions{Prefix: prefix, Recursive: true, WithMetadata: withTags, FetchOwner: &owner, MaxKeys: pageSize}
}

// untagged gives those objects of a page that have no tags an empty map, and
// reports true, if the server lists tags: one that has once done so always does.
func (s *Store) untagged(page []Object) bool {
	if !s.listsTags.Load() {
		return false
	}
	for i := range page {
		if page[i].Tags == nil {
			page[i].Tags = map[string]string{}
		}
	}
	return true
}

// tagPage fills in the tags that the listing did not bring.
func (s *Store) tagPage(ctx context.Context, bucket string, page []Object) error {
	if s.untagged(page) {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, tagReaders)
	var wg sync.WaitGroup
	for reader := range tagReaders {
		wg.Go(func() {
			for i := reader; i < len(page) && ctx.Err() == nil; i += tagReaders {
				found, err := s.tags(ctx, bucket, page[i].Key)
				switch {
				case err == nil:
					page[i].Tags = found
				case !errors.Is(err, dg.ErrNotFound):
					errs[reader] = fmt.Errorf("tags of %s: %w", page[i].Key, err)
					cancel()
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
