package objstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/tags"
)

// Tags returns an object's tags; an object without any has an empty map.
func (s *Store) Tags(ctx context.Context, bucket, key string) (_ map[string]string, err error) {
	ctx, end := traced(ctx, "GetObjectTagging", bucket)
	defer end(&err)
	if err := ValidKey(key); err != nil {
		return nil, fmt.Errorf("objstore: read tags of %s/%s: %w", bucket, key, err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	found, err := s.tags(ctx, bucket, key)
	if err != nil {
		return nil, fmt.Errorf("objstore: read tags of %s/%s: %w", bucket, key, err)
	}
	return found, nil
}

func (s *Store) tags(ctx context.Context, bucket, key string) (map[string]string, error) {
	found, err := s.repeat.GetObjectTagging(ctx, bucket, key, minio.GetObjectTaggingOptions{})
	if err != nil {
		return nil, classify(err)
	}
	return found.ToMap(), nil
}

// UpdateTags reads an object's tags, lets edit change the map, and writes it
// back unless nothing has changed. No write to the same key through this store
// comes in between; S3 has no means against other processes. edit must not
// call the store for the same key. Its error ends the update and is returned.
func (s *Store) UpdateTags(ctx context.Context, bucket, key string, edit func(tags map[string]string) error) (err error) {
	ctx, end := traced(ctx, "PutObjectTagging", bucket)
	defer end(&err)
	if err := ValidKey(key); err != nil {
		return fmt.Errorf("objstore: update tags of %s/%s: %w", bucket, key, err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	unlock, err := s.locks.lock(ctx, bucket+"/"+key)
	if err != nil {
		return fmt.Errorf("objstore: update tags of %s/%s: %w", bucket, key, err)
	}
	defer unlock()
	if err := s.updateTags(ctx, bucket, key, edit); err != nil {
		return fmt.Errorf("objstore: update tags of %s/%s: %w", bucket, key, err)
	}
	return nil
}

func (s *Store) updateTags(ctx context.Context, bucket, key string, edit func(map[string]string) error) error {
	before, err := s.tags(ctx, bucket, key)
	if err != nil {
		return err
	}
	after := maps.Clone(before)
	if err := edit(after); err != nil {
		return err
	}
	if maps.Equal(before, after) {
		return nil
	}
	if err := ValidTags(after); err != nil {
		return err
	}
	set, err := tags.NewTags(after, true)
	if err != nil {
		return err
	}
	// Repeating this put is safe: it carries the whole set of tags.
	return classify(s.repeat.PutObjectTagging(ctx, bucket, key, set, minio.PutObjectTaggingOptions{}))
}

// Copy copies an object on the server, with its content type. Tags nil keeps
// its tags; any other map, the empty one too, replaces them all.
func (s *Store) Copy(ctx context.Context, srcBucket, srcKey, dstBucket, dstKey string, newTags map[string]string) (err error) {
	ctx, end := traced(ctx, "CopyObject", dstBucket)
	defer end(&err)
	if err := errors.Join(ValidKey(srcKey), ValidKey(dstKey), ValidTags(newTags)); err != nil {
		return fmt.Errorf("objstore: copy %s/%s to %s/%s: %w", srcBucket, srcKey, dstBucket, dstKey, err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	unlock, err := s.locks.lock(ctx, dstBucket+"/"+dstKey)
	if err != nil {
		return fmt.Errorf("objstore: copy %s/%s to %s/%s: %w", srcBucket, srcKey, dstBucket, dstKey, err)
	}
	defer unlock()
	_, err = s.repeat.Client.CopyObject(ctx,
		minio.CopyDestOptions{Bucket: dstBucket, Object: dstKey, ReplaceTags: newTags != nil, UserTags: newTags},
		minio.CopySrcOptions{Bucket: srcBucket, Object: srcKey})
	if err != nil {
		return fmt.Errorf("objstore: copy %s/%s to %s/%s: %w", srcBucket, srcKey, dstBucket, dstKey, classify(err))
	}
	return nil
}

// keyLocks holds one lock for each key in use, and nothing for the others.
type keyLocks struct {
	mu   sync.Mutex
	held map[string]*keyLock
}

type keyLock struct {
	token chan struct{} // holds one token while somebody has the lock
	users int           // who have or want it
}

// lock waits for the key's lock until ctx ends; the caller must call unlock.
func (l *keyLocks) lock(ctx context.Context, key string) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*keyLock{}
	}
	k := l.held[key]
	if k == nil {
		k = &keyLock{token: make(chan struct{}, 1)}
		l.held[key] = k
	}
	k.users++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, key)
		}
	}
	select {
	case k.token <- struct{}{}:
		return func() { <-k.token; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
