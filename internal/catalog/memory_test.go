package catalog

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	dg "driftgate"
	"driftgate/internal/objstore"
)

// memory is an object store in this process, for long random histories.
type memory struct {
	mu        sync.Mutex
	buckets   map[string]map[string]objstore.Object
	now       func() time.Time
	listsTags bool
	hidden    string // key that listings leave out, though it is there
	tagsAsked int
	writes    int
}

func newMemory(now func() time.Time) *memory {
	return &memory{buckets: map[string]map[string]objstore.Object{}, now: now, listsTags: true}
}

func (m *memory) put(bucket, key string, tags map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.store(bucket, key, tags)
}

func (m *memory) store(bucket, key string, tags map[string]string) {
	if m.buckets[bucket] == nil {
		m.buckets[bucket] = map[string]objstore.Object{}
	}
	m.writes++
	sum := md5.Sum(fmt.Append(nil, m.writes))
	m.buckets[bucket][key] = objstore.Object{Key: key, ETag: hex.EncodeToString(sum[:]), Modified: m.now(), Tags: maps.Clone(tags)}
}

// edit changes tags, which S3 shows neither in ETag nor in time.
func (m *memory) edit(bucket, key string, f func(tags map[string]string)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.buckets[bucket][key]
	if !ok {
		return
	}
	if o.Tags = maps.Clone(o.Tags); o.Tags == nil {
		o.Tags = map[string]string{}
	}
	f(o.Tags)
	m.buckets[bucket][key] = o
}

func (m *memory) keys(bucket string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.buckets[bucket]))
}

func (m *memory) find(bucket, key string) (objstore.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.buckets[bucket][key]
	if !ok {
		return o, fmt.Errorf("%s/%s: %w", bucket, key, dg.ErrNotFound)
	}
	o.Tags = maps.Clone(o.Tags)
	return o, nil
}

func (m *memory) Get(_ context.Context, bucket, key string) ([]byte, objstore.Object, error) {
	o, err := m.find(bucket, key)
	return []byte(key), o, err
}

func (m *memory) Stat(_ context.Context, bucket, key string) (objstore.Object, error) {
	o, err := m.find(bucket, key)
	o.Tags = nil
	return o, err
}

func (m *memory) Tags(_ context.Context, bucket, key string) (map[string]string, error) {
	o, err := m.find(bucket, key)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tagsAsked++
	return o.Tags, err
}

func (m *memory) Copy(_ context.Context, srcBucket, srcKey, dstBucket, dstKey string, tags map[string]string) error {
	o, err := m.find(srcBucket, srcKey)
	if err != nil {
		return err
	}
	if tags == nil {
		tags = o.Tags
	}
	m.put(dstBucket, dstKey, tags)
	return nil
}

func (m *memory) Delete(_ context.Context, bucket string, keys ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		delete(m.buckets[bucket], key)
	}
	return nil
}

func (m *memory) List(_ context.Context, bucket, prefix string, withTags bool) iter.Seq2[objstore.Object, error] {
	return m.list(bucket, prefix, withTags)
}

func (m *memory) ListCheap(_ context.Context, bucket, prefix string) iter.Seq2[objstore.Object, error] {
	return m.list(bucket, prefix, m.listsTags)
}

func (m *memory) list(bucket, prefix string, withTags bool) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		for _, key := range m.keys(bucket) {
			o, err := m.find(bucket, key)
			if err != nil || key == m.hidden || !strings.HasPrefix(key, prefix) {
				continue
			}
			switch {
			case !withTags:
				o.Tags = nil
			case o.Tags == nil:
				o.Tags = map[string]string{}
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}
