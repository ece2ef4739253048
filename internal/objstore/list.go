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
	return func(yield func(Object, error) bool) {
		fail := func(err error) {
			yield(Object{}, fmt.Errorf("objstore: list %s/%s: %w", bucket, prefix, err))
		}
		page := make([]Object, 0, pageSize)
		flush := func() bool {
			if err := s.tagPage(ctx, bucket, page, withTags); err != nil {
				fail(err)
				return false
			}
			for _, o := range page {
				if withTags && o.Tags == nil {
					continue // gone since it was listed
				}
				if !yield(o, nil) {
					return false
				}
			}
			page = page[:0]
			return true
		}
		for info := range s.repeat.ListObjectsIter(ctx, bucket, listOptions(prefix, withTags)) {
			if info.Err != nil {
				fail(classify(info.Err))
				return
			}
			o := object(info.Key, info)
			if len(info.UserTags) > 0 {
				o.Tags = info.UserTags
				s.listsTags.Store(true)
			}
			if page = append(page, o); len(page) == pageSize && !flush() {
				return
			}
		}
		if err := ctx.Err(); err != nil { // the client below just ends
			fail(err)
			return
		}
		flush()
	}
}

func listOptions(prefix string, withTags bool) minio.ListObjectsOptions {
	owner := false
	return minio.ListObjectsOptions{Prefix: prefix, Recursive: true, WithMetadata: withTags, FetchOwner: &owner, MaxKeys: pageSize}
}

// tagPage fills in the tags that the listing did not bring. A server that has
// once listed tags always does, so there an object without them has none.
func (s *Store) tagPage(ctx context.Context, bucket string, page []Object, withTags bool) error {
	if !withTags {
		return nil
	}
	if s.listsTags.Load() {
		for i := range page {
			if page[i].Tags == nil {
				page[i].Tags = map[string]string{}
			}
		}
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
