package objstoretest

import (
	"fmt"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/objstore"
)

func (s suite) bulkDelete(t *testing.T) {
	ctx := t.Context()
	var keys []string
	for i := range 20 {
		key := s.key(fmt.Sprintf("deleted/%02d", i))
		keys = append(keys, key, key+"-missing")
		s.put(t, bucketA, key, "x", objstore.PutOptions{})
	}
	s.put(t, bucketA, s.key("deleted/kept"), "x", objstore.PutOptions{})
	must(t, s.store.Delete(ctx, bucketA, keys...))
	must(t, s.store.Delete(ctx, bucketA, keys...))
	must(t, s.store.Delete(ctx, bucketA, keys[0]))
	must(t, s.store.Delete(ctx, bucketA))
	left, err := s.store.Bucket(bucketA).Keys(ctx, s.key("deleted/"))
	must(t, err)
	if len(left) != 1 || left[0] != s.key("deleted/kept") {
		t.Errorf("left over: %v, want deleted/kept alone", left)
	}
	wantKind(t, "delete from no bucket", s.store.Delete(ctx, "conf-no-such-bucket", keys[0]), dg.ErrNotFound)
	wantKind(t, "bulk delete from no bucket", s.store.Delete(ctx, "conf-no-such-bucket", keys...), dg.ErrNotFound)
}

func (s suite) badKeys(t *testing.T) {
	ctx := t.Context()
	for name, key := range map[string]string{
		"empty":             "",
		"dot":               "a/./b",
		"dot dot":           "../escape",
		"only dots":         "..",
		"leading slash":     "/a",
		"trailing slash":    "a/",
		"double slash":      "a//b",
		"NUL":               "a\x00b",
		"newline":           "a\nb",
		"not UTF-8":         "a\xffb",
		"backslash":         `a\b`,
		"staging folder":    "a/.sgwtmp/b",
		"long segment":      strings.Repeat("s", 256),
		"long unicode":      strings.Repeat("é", 128),
		"over 1024 bytes":   strings.Repeat("123456789/", 102) + "12345",
		"staging at bottom": ".sgwtmp",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.store.Put(ctx, bucketA, key, []byte("x"), objstore.PutOptions{})
			wantKind(t, "put", err, dg.ErrInvalid)
			_, _, err = s.store.Get(ctx, bucketA, key)
			wantKind(t, "get", err, dg.ErrInvalid)
			_, err = s.store.GetRange(ctx, bucketA, key, 0, 1)
			wantKind(t, "get range", err, dg.ErrInvalid)
			_, err = s.store.Stat(ctx, bucketA, key)
			wantKind(t, "stat", err, dg.ErrInvalid)
			_, err = s.store.Tags(ctx, bucketA, key)
			wantKind(t, "tags", err, dg.ErrInvalid)
			wantKind(t, "update tags", s.store.UpdateTags(ctx, bucketA, key, func(map[string]string) error { return nil }), dg.ErrInvalid)
			wantKind(t, "copy from", s.store.Copy(ctx, bucketA, key, bucketB, "a", nil), dg.ErrInvalid)
			wantKind(t, "copy to", s.store.Copy(ctx, bucketA, "a", bucketB, key, nil), dg.ErrInvalid)
			wantKind(t, "delete", s.store.Delete(ctx, bucketA, "a", key), dg.ErrInvalid)
			_, err = s.store.PresignGet(ctx, bucketA, key, 1e9)
			wantKind(t, "presign", err, dg.ErrInvalid)
		})
	}
	longest := s.prefix + strings.Repeat(strings.Repeat("k", 199)+"/", 4) + "end"
	s.put(t, bucketA, longest, "x", objstore.PutOptions{})
	widest := s.key(strings.Repeat("w", 255))
	s.put(t, bucketA, widest, "x", objstore.PutOptions{})
	must(t, s.store.Delete(ctx, bucketA, longest, widest))
}

func (s suite) badTags(t *testing.T) {
	ctx, key := t.Context(), s.key("badly-tagged")
	eleven := map[string]string{}
	for i := range 11 {
		eleven[fmt.Sprint("tag", i)] = "x"
	}
	s.put(t, bucketA, key, "x", objstore.PutOptions{Tags: garment})
	for name, tags := range map[string]map[string]string{
		"eleven":         eleven,
		"empty key":      {"": "x"},
		"long key":       {strings.Repeat("k", 129): "x"},
		"long value":     {"k": strings.Repeat("v", 257)},
		"ampersand":      {"k": "a&b"},
		"control":        {"k": "a\nb"},
		"not ASCII":      {"k": "crème"}, // MinIO and its client refuse it
		"one among good": {"good": "x", "bad": "<"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.store.Put(ctx, bucketA, key, []byte("y"), objstore.PutOptions{Tags: tags})
			wantKind(t, "put", err, dg.ErrInvalid)
			wantKind(t, "copy", s.store.Copy(ctx, bucketA, key, bucketB, key, tags), dg.ErrInvalid)
			wantKind(t, "update tags", s.store.UpdateTags(ctx, bucketA, key, func(now map[string]string) error {
				clear(now)
				for k, v := range tags {
					now[k] = v
				}
				return nil
			}), dg.ErrInvalid)
		})
	}
	s.wantObject(t, bucketA, key, "x", "application/octet-stream", garment)
	ten := map[string]string{}
	for i := range 10 {
		ten[fmt.Sprintf("%010d", i)] = strings.Repeat("v", 100)
	}
	s.put(t, bucketA, key, "x", objstore.PutOptions{Tags: ten})
	s.wantObject(t, bucketA, key, "x", "application/octet-stream", ten)
}

func (s suite) credentials(t *testing.T) {
	o := s.store.Options()
	o.SecretKey += "x"
	store, err := objstore.Open(o)
	must(t, err)
	wantKind(t, "ready", store.Ready(t.Context()), dg.ErrUnauthorized)
	_, _, err = store.Get(t.Context(), bucketA, s.key("class_06/one.jpg"))
	wantKind(t, "get", err, dg.ErrUnauthorized)
	_, err = store.Put(t.Context(), bucketA, s.key("intruder"), nil, objstore.PutOptions{})
	wantKind(t, "put", err, dg.ErrUnauthorized)
}
