// Package objstoretest holds the one conformance suite for every S3 server that
// driftgate may run on. What driftgate relies on is a subtest here; a server
// that passes can be used.
package objstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/objstore"
)

// Run judges the server behind open, which returns a new client of it at each
// call. The suite works in buckets of its own, whose names start with "conf-";
// keys are new in each run, so that a server may be judged more than once.
func Run(t *testing.T, open func(t *testing.T) *objstore.Store) {
	s := suite{open: open, store: open(t), prefix: fmt.Sprintf("run-%d/", time.Now().UnixNano())}
	if err := s.store.EnsureBuckets(t.Context(), bucketA, bucketB); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"buckets are ensured twice without error", s.ensureTwice},
		{"one put brings body, content type and tags", s.putWithTags},
		{"an empty object is an object", s.empty},
		{"a big object survives", s.big},
		{"unicode keys and slashes in tag values survive", s.unicode},
		{"a put replaces body and tags", s.overwrite},
		{"missing objects and buckets are not found", s.missing},
		{"concurrent tag edits lose nothing", s.tagEdits},
		{"an edit that fails or changes nothing writes nothing", s.tagEditRefused},
		{"a copy across buckets keeps tags and content type", s.copyKeeps},
		{"a copy with new tags keeps content type and drops the old tags", s.copyReplaces},
		{"a copy of nothing is not found", s.copyMissing},
		{"a listing pages through thousands in key order", s.paging},
		{"a listing brings tags, and none where there are none", s.listTags},
		{"a listing of nothing is empty", s.listNothing},
		{"only one creates: If-None-Match", s.createRace},
		{"only one replaces: If-Match", s.replaceRace},
		{"a counter moved by If-Match loses no step", s.counter},
		{"a replaced object is never read torn", s.tornReads},
		{"a stale or vanished ETag is a conflict", s.staleETag},
		{"a presigned address works without credentials until it is changed", s.presigned},
		{"a range is exactly that", s.ranges},
		{"a bulk delete minds no missing keys", s.bulkDelete},
		{"bad keys are refused before anything is sent", s.badKeys},
		{"bad tags are refused before anything is sent", s.badTags},
		{"wrong credentials are refused", s.credentials},
	} {
		t.Run(tt.name, tt.test)
	}
}

const (
	bucketA = "conf-a"
	bucketB = "conf-b"
)

type suite struct {
	open   func(t *testing.T) *objstore.Store
	store  *objstore.Store
	prefix string
}

func (s suite) key(name string) string { return s.prefix + name }

var garment = map[string]string{
	"predicted_class": "Noodles/Pasta",
	"confidence":      "0.873",
	"timestamp":       "2026-11-22T03:40:00Z",
	"corrected_class": "Dairy product",
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: error %v, want %v", what, err, kind)
	}
}

func (s suite) put(t *testing.T, bucket, key, body string, o objstore.PutOptions) string {
	t.Helper()
	etag, err := s.store.Put(t.Context(), bucket, key, []byte(body), o)
	must(t, err)
	return etag
}

func (s suite) wantObject(t *testing.T, bucket, key, body, contentType string, tags map[string]string) {
	t.Helper()
	got, o, err := s.store.Get(t.Context(), bucket, key)
	must(t, err)
	if string(got) != body || o.ContentType != contentType || o.Size != int64(len(body)) {
		t.Errorf("%s/%s: %d bytes %.40q as %q, want %.40q as %q", bucket, key, o.Size, got, o.ContentType, body, contentType)
	}
	found, err := s.store.Tags(t.Context(), bucket, key)
	must(t, err)
	if !maps.Equal(found, tags) {
		t.Errorf("%s/%s: tags %v, want %v", bucket, key, found, tags)
	}
}

// parallel runs f(0) to f(n-1) on a few goroutines and returns the first error.
func parallel(n, workers int, f func(i int) error) error {
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += workers {
				errs[w] = f(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s suite) ensureTwice(t *testing.T) {
	must(t, s.store.EnsureBuckets(t.Context(), bucketA, bucketB))
	must(t, s.store.Ready(t.Context()))
}

func (s suite) putWithTags(t *testing.T) {
	key := s.key("class_06/one.jpg")
	etag := s.put(t, bucketA, key, "image", objstore.PutOptions{Tags: garment, ContentType: "image/jpeg"})
	s.wantObject(t, bucketA, key, "image", "image/jpeg", garment)
	o, err := s.store.Stat(t.Context(), bucketA, key)
	must(t, err)
	if o.ETag != etag || etag == "" || o.Size != 5 || o.Key != key {
		t.Errorf("stat: %+v, want key %s, 5 bytes and ETag %s", o, key, etag)
	}
	if age := time.Since(o.Modified); age < -time.Hour || age > time.Hour {
		t.Errorf("stat: modified %s, want about now", o.Modified)
	}
}

func (s suite) empty(t *testing.T) {
	key := s.key("empty")
	s.put(t, bucketA, key, "", objstore.PutOptions{Tags: garment})
	s.wantObject(t, bucketA, key, "", "application/octet-stream", garment)
}

func (s suite) big(t *testing.T) {
	key := s.key("big")
	body := bytes.Repeat([]byte("0123456789abcdef"), 20<<20/16)
	s.put(t, bucketA, key, string(body), objstore.PutOptions{Tags: garment, ContentType: "application/x-big"})
	got, o, err := s.store.Get(t.Context(), bucketA, key)
	must(t, err)
	if !bytes.Equal(got, body) || o.ContentType != "application/x-big" {
		t.Errorf("got %d bytes as %q, want the %d put", len(got), o.ContentType, len(body))
	}
}

func (s suite) unicode(t *testing.T) {
	tags := map[string]string{"predicted_class": "Noodles/Pasta", "note": "a b+c-d=e.f_g:h/i@j", "empty": ""}
	for _, name := range []string{"crème brûlée/été.jpg", "寿司 まぐろ.png", "a b+c%20d&e=f?g#h.jpg", "quote'\"<tag>.jpg", ".hidden", "a/-", "~"} {
		key := s.key("unicode/" + name)
		s.put(t, bucketA, key, name, objstore.PutOptions{Tags: tags})
		s.wantObject(t, bucketA, key, name, "application/octet-stream", tags)
		must(t, s.store.Copy(t.Context(), bucketA, key, bucketB, key, nil))
		s.wantObject(t, bucketB, key, name, "application/octet-stream", tags)
	}
	n := 0
	for o, err := range s.store.List(t.Context(), bucketA, s.key("unicode/"), true) {
		must(t, err)
		n++
		if !maps.Equal(o.Tags, tags) {
			t.Errorf("listed %s with tags %v, want %v", o.Key, o.Tags, tags)
		}
		body, _, err := s.store.Get(t.Context(), bucketA, o.Key)
		must(t, err)
		if s.key("unicode/"+string(body)) != o.Key {
			t.Errorf("listed key %q leads to the object put as %q", o.Key, body)
		}
	}
	if n != 7 {
		t.Errorf("listed %d unicode keys, want 7", n)
	}
}

func (s suite) overwrite(t *testing.T) {
	key := s.key("overwrite")
	s.put(t, bucketA, key, "first and longer", objstore.PutOptions{Tags: garment, ContentType: "image/png"})
	s.put(t, bucketA, key, "second", objstore.PutOptions{ContentType: "image/jpeg"})
	s.wantObject(t, bucketA, key, "second", "image/jpeg", nil)
	long := s.key("overwrite-" + strings.Repeat("n", 240))
	s.put(t, bucketA, long, "1", objstore.PutOptions{})
	s.put(t, bucketA, long, "2", objstore.PutOptions{})
	s.wantObject(t, bucketA, long, "2", "application/octet-stream", nil)
}

func (s suite) missing(t *testing.T) {
	ctx, key := t.Context(), s.key("nowhere")
	_, _, err := s.store.Get(ctx, bucketA, key)
	wantKind(t, "get", err, dg.ErrNotFound)
	_, err = s.store.GetRange(ctx, bucketA, key, 0, 1)
	wantKind(t, "get range", err, dg.ErrNotFound)
	_, err = s.store.Stat(ctx, bucketA, key)
	wantKind(t, "stat", err, dg.ErrNotFound)
	_, err = s.store.Tags(ctx, bucketA, key)
	wantKind(t, "tags", err, dg.ErrNotFound)
	err = s.store.UpdateTags(ctx, bucketA, key, func(tags map[string]string) error { tags["a"] = "b"; return nil })
	wantKind(t, "update tags", err, dg.ErrNotFound)
	_, _, err = s.store.Get(ctx, "conf-no-such-bucket", key)
	wantKind(t, "get from no bucket", err, dg.ErrNotFound)
	_, err = s.store.Put(ctx, "conf-no-such-bucket", key, nil, objstore.PutOptions{})
	wantKind(t, "put into no bucket", err, dg.ErrNotFound)
	for _, err := range s.store.List(ctx, "conf-no-such-bucket", "", false) {
		wantKind(t, "list no bucket", err, dg.ErrNotFound)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, _, err = s.store.Get(ended, bucketA, key)
	wantKind(t, "get after the context has ended", err, context.Canceled)
	n := 0
	for _, err := range s.store.List(ended, bucketA, "", false) {
		wantKind(t, "list after the context has ended", err, context.Canceled)
		n++
	}
	if n != 1 {
		t.Errorf("list after the context has ended: %d results, want one error", n)
	}
}
