package objstore

import (
	"context"
	"mime"
	"path"
)

// Bucket is one bucket of a store, for those who need no more than bytes by key.
type Bucket struct {
	store *Store
	name  string
}

// Bucket returns the named bucket; it sends nothing.
func (s *Store) Bucket(name string) Bucket { return Bucket{s, name} }

// Put stores body under key, with the content type of the key's extension.
func (b Bucket) Put(ctx context.Context, key string, body []byte) error {
	_, err := b.store.Put(ctx, b.name, key, body, PutOptions{ContentType: mime.TypeByExtension(path.Ext(key))})
	return err
}

// Get returns the whole object at key.
func (b Bucket) Get(ctx context.Context, key string) ([]byte, error) {
	body, _, err := b.store.Get(ctx, b.name, key)
	return body, err
}

// Keys returns the keys that start with prefix, in order.
func (b Bucket) Keys(ctx context.Context, prefix string) ([]string, error) {
	var keys []string
	for o, err := range b.store.List(ctx, b.name, prefix, false) {
		if err != nil {
			return nil, err
		}
		keys = append(keys, o.Key)
	}
	return keys, nil
}

// Buckets names the buckets that driftgate uses, as docs/interop.md has them.
type Buckets struct {
	Production string `json:"production"` // every image served
	Waiting    string `json:"waiting"`    // images waiting for a person's label
	Noisy      string `json:"noisy"`      // training material
	Clean      string `json:"clean"`      // labelled by people: the ground truth
	Models     string `json:"models"`     // artifacts and the champion record
	Datasets   string `json:"datasets"`   // ingested datasets
}

// DefaultBuckets returns the usual names, each after prefix.
func DefaultBuckets(prefix string) Buckets {
	return Buckets{
		Production: prefix + "production",
		Waiting:    prefix + "production-label-wait",
		Noisy:      prefix + "production-noisy",
		Clean:      prefix + "production-clean",
		Models:     prefix + "models",
		Datasets:   prefix + "datasets",
	}
}

// All lists the six names.
func (b Buckets) All() []string {
	return []string{b.Production, b.Waiting, b.Noisy, b.Clean, b.Models, b.Datasets}
}
