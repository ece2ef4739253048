package objstoretest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"driftgate/internal/objstore"

	dg "driftgate"
)

func (s suite) tagEdits(t *testing.T) {
	key := s.key("edited")
	s.put(t, bucketA, key, "x", objstore.PutOptions{Tags: map[string]string{"timestamp": "t"}})
	const edits = 32
	must(t, parallel(edits, 8, func(i int) error {
		return s.store.UpdateTags(t.Context(), bucketA, key, func(tags map[string]string) error {
			tags[fmt.Sprint("tag", i%8)] += fmt.Sprint(i / 8) // each of 8 tags grows by 4 digits
			return nil
		})
	}))
	found, err := s.store.Tags(t.Context(), bucketA, key)
	must(t, err)
	if len(found) != 9 || found["timestamp"] != "t" {
		t.Errorf("tags %v, want timestamp and 8 more", found)
	}
	for i := range 8 {
		digits := []byte(found[fmt.Sprint("tag", i)])
		slices.Sort(digits)
		if string(digits) != "0123" {
			t.Errorf("tag%d = %q, want the digits 0 to 3 in some order", i, digits)
		}
	}
}

func (s suite) tagEditRefused(t *testing.T) {
	key := s.key("unedited")
	s.put(t, bucketA, key, "x", objstore.PutOptions{Tags: garment})
	refused := errors.New("refused")
	err := s.store.UpdateTags(t.Context(), bucketA, key, func(tags map[string]string) error {
		clear(tags)
		return refused
	})
	wantKind(t, "edit", err, refused)
	must(t, s.store.UpdateTags(t.Context(), bucketA, key, func(map[string]string) error { return nil }))
	s.wantObject(t, bucketA, key, "x", "application/octet-stream", garment)
	must(t, s.store.UpdateTags(t.Context(), bucketA, key, func(tags map[string]string) error { clear(tags); return nil }))
	s.wantObject(t, bucketA, key, "x", "application/octet-stream", nil)
}

func (s suite) copyKeeps(t *testing.T) {
	src, dst := s.key("class_06/kept.jpg"), s.key("class_06/kept-copy.jpg")
	s.put(t, bucketA, src, "image", objstore.PutOptions{Tags: garment, ContentType: "image/jpeg"})
	must(t, s.store.Copy(t.Context(), bucketA, src, bucketB, dst, nil))
	s.wantObject(t, bucketB, dst, "image", "image/jpeg", garment)
	s.wantObject(t, bucketA, src, "image", "image/jpeg", garment)
	s.put(t, bucketA, src, "untagged", objstore.PutOptions{ContentType: "image/png"})
	must(t, s.store.Copy(t.Context(), bucketA, src, bucketB, dst, nil)) // over the first copy
	s.wantObject(t, bucketB, dst, "untagged", "image/png", nil)
}

func (s suite) copyReplaces(t *testing.T) {
	src, dst := s.key("class_06/src.jpg"), s.key("class_02/dst.jpg")
	s.put(t, bucketA, src, "image", objstore.PutOptions{Tags: garment, ContentType: "image/jpeg"})
	tags := map[string]string{"label_source": "human", "predicted_class": "Vegetable/Fruit"}
	must(t, s.store.Copy(t.Context(), bucketA, src, bucketB, dst, tags))
	s.wantObject(t, bucketB, dst, "image", "image/jpeg", tags)
	must(t, s.store.Copy(t.Context(), bucketA, src, bucketB, dst, map[string]string{}))
	s.wantObject(t, bucketB, dst, "image", "image/jpeg", nil)
	s.wantObject(t, bucketA, src, "image", "image/jpeg", garment)
}

func (s suite) copyMissing(t *testing.T) {
	err := s.store.Copy(t.Context(), bucketA, s.key("nowhere"), bucketB, s.key("copy"), garment)
	wantKind(t, "copy", err, dg.ErrNotFound)
	_, err = s.store.Stat(t.Context(), bucketB, s.key("copy"))
	wantKind(t, "stat of what was not copied", err, dg.ErrNotFound)
}

func (s suite) paging(t *testing.T) {
	n := 5000
	if testing.Short() {
		n = 1200 // two pages
	}
	want := make([]string, n)
	for i := range want {
		// Neighbours that sort differently as paths and as keys: - and . before /.
		want[i] = s.key(fmt.Sprintf("page/%02d%s%05d", i%7, []string{"/", "-", ".", "/x/"}[i%4], i))
	}
	must(t, parallel(n, 16, func(i int) error {
		_, err := s.store.Put(t.Context(), bucketA, want[i], []byte{'x'}, objstore.PutOptions{Tags: map[string]string{"n": fmt.Sprint(i)}})
		return err
	}))
	number := map[string]string{}
	for i, key := range want {
		number[key] = fmt.Sprint(i)
	}
	slices.Sort(want)
	for _, withTags := range []bool{false, true} {
		i := 0
		for o, err := range s.store.List(t.Context(), bucketA, s.key("page/"), withTags) {
			must(t, err)
			if i >= n || o.Key != want[i] || o.Size != 1 || o.ETag == "" {
				t.Fatalf("object %d of the listing is %+v, want key %s, 1 byte, an ETag", i, o, want[min(i, n-1)])
			}
			if withTags && o.Tags["n"] != number[o.Key] {
				t.Fatalf("listed %s with tags %v, want n=%s", o.Key, o.Tags, number[o.Key])
			}
			if !withTags && o.Tags != nil {
				t.Fatalf("listed %s with tags %v that nobody asked for", o.Key, o.Tags)
			}
			i++
		}
		if i != n {
			t.Errorf("listed %d objects (tags: %v), want %d", i, withTags, n)
		}
	}
	for _, err := range s.store.List(t.Context(), bucketA, s.key("page/"), true) {
		must(t, err)
		break // ends the listing, leaves nothing behind
	}
	must(t, s.store.Delete(t.Context(), bucketA, want...))
	for o, err := range s.store.List(t.Context(), bucketA, s.key("page/"), false) {
		t.Fatalf("after the bulk delete: %v %v", o, err)
	}
}

func (s suite) listTags(t *testing.T) {
	store := s.open(t) // has not learnt yet whether listings bring tags
	for i, tags := range []map[string]string{nil, garment, nil} {
		s.put(t, bucketA, s.key(fmt.Sprintf("tagged/%d", i)), "x", objstore.PutOptions{Tags: tags})
	}
	for _, prefix := range []string{"tagged/0", "tagged/", "tagged/2"} {
		for o, err := range store.List(t.Context(), bucketA, s.key(prefix), true) {
			must(t, err)
			var want map[string]string
			if o.Key == s.key("tagged/1") {
				want = garment
			}
			if o.Tags == nil || !maps.Equal(o.Tags, want) {
				t.Errorf("listed %s with tags %v, want %v, not nil", o.Key, o.Tags, want)
			}
		}
	}
}

func (s suite) listNothing(t *testing.T) {
	for o, err := range s.store.List(t.Context(), bucketA, s.key("no such prefix/"), true) {
		t.Errorf("listed %v %v, want nothing", o, err)
	}
}
