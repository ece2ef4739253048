package objstoretest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/objstore"
)

const racers = 8

// race lets every racer put its own body from a client of its own, since one
// client takes turns on a key; exactly one must win, and its body must stay.
func (s suite) race(t *testing.T, stores []*objstore.Store, key string, o objstore.PutOptions) {
	t.Helper()
	var won atomic.Int64
	won.Store(-1)
	start := make(chan struct{})
	done := make(chan error, racers)
	for i := range racers {
		go func() {
			<-start
			_, err := stores[i].Put(t.Context(), bucketA, key, fmt.Appendf(nil, "racer %d", i), o)
			switch {
			case err == nil && !won.CompareAndSwap(-1, int64(i)):
				err = fmt.Errorf("racer %d won as well", i)
			case errors.Is(err, dg.ErrConflict):
				err = nil
			}
			done <- err
		}()
	}
	close(start)
	for range racers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	body, _, err := s.store.Get(t.Context(), bucketA, key)
	must(t, err)
	if want := fmt.Sprintf("racer %d", won.Load()); string(body) != want {
		t.Errorf("the object holds %q, want %q", body, want)
	}
}

func (s suite) clients(t *testing.T) []*objstore.Store {
	stores := make([]*objstore.Store, racers)
	for i := range stores {
		stores[i] = s.open(t)
	}
	return stores
}

func (s suite) createRace(t *testing.T) {
	stores := s.clients(t)
	for round := range 10 {
		s.race(t, stores, s.key(fmt.Sprintf("race/create-%d", round)), objstore.PutOptions{IfNoneMatch: true, Tags: garment})
	}
}

func (s suite) replaceRace(t *testing.T) {
	stores := s.clients(t)
	for round := range 10 {
		key := s.key(fmt.Sprintf("race/replace-%d", round))
		etag := s.put(t, bucketA, key, "before", objstore.PutOptions{})
		s.race(t, stores, key, objstore.PutOptions{IfMatch: etag})
	}
}

func (s suite) counter(t *testing.T) {
	stores, key := s.clients(t), s.key("counter")
	s.put(t, bucketA, key, "0", objstore.PutOptions{})
	const steps = 80
	must(t, parallel(steps, racers, func(i int) error {
		store := stores[i%racers]
		for {
			body, o, err := store.Get(t.Context(), bucketA, key)
			if err != nil {
				return err
			}
			var n int
			if _, err := fmt.Sscan(string(body), &n); err != nil {
				return err
			}
			_, err = store.Put(t.Context(), bucketA, key, fmt.Append(nil, n+1), objstore.PutOptions{IfMatch: o.ETag})
			if !errors.Is(err, dg.ErrConflict) {
				return err
			}
		}
	}))
	s.wantObject(t, bucketA, key, fmt.Sprint(steps), "application/octet-stream", nil)
}

// tornReads replaces one object again and again, by bodies that name their own
// tag, and reads it meanwhile.
func (s suite) tornReads(t *testing.T) {
	key := s.key("torn")
	write := func(i int) error {
		letter := string(rune('a' + i%26))
		_, err := s.store.Put(t.Context(), bucketA, key, []byte(strings.Repeat(letter, 40_000+i%26)),
			objstore.PutOptions{Tags: map[string]string{"letter": letter}})
		return err
	}
	must(t, write(0))
	etags := make([]string, 26)
	stop := make(chan struct{})
	written := make(chan error, 1)
	go func() {
		var err error
		for i := 1; err == nil; i++ {
			select {
			case <-stop:
				written <- nil
				return
			default:
				err = write(i)
			}
		}
		written <- err
	}()
	for range 200 {
		body, o, err := s.store.Get(t.Context(), bucketA, key)
		must(t, err)
		i := int(body[0] - 'a')
		if len(body) != 40_000+i || bytes.Count(body, body[:1]) != len(body) {
			t.Fatalf("torn: %d bytes that start with %q", len(body), body[:1])
		}
		if etags[i] == "" {
			etags[i] = o.ETag
		}
		if o.ETag != etags[i] {
			t.Fatalf("body %q came with ETag %s, and before with %s", body[:1], o.ETag, etags[i])
		}
		tags, err := s.store.Tags(t.Context(), bucketA, key)
		must(t, err)
		if len(tags) != 1 || len(tags["letter"]) != 1 {
			t.Fatalf("tags %v, want the one of a letter", tags)
		}
	}
	close(stop)
	must(t, <-written)
}

func (s suite) staleETag(t *testing.T) {
	ctx, key := t.Context(), s.key("stale")
	first := s.put(t, bucketA, key, "1", objstore.PutOptions{IfNoneMatch: true})
	second := s.put(t, bucketA, key, "2", objstore.PutOptions{IfMatch: first})
	_, err := s.store.Put(ctx, bucketA, key, []byte("3"), objstore.PutOptions{IfMatch: first})
	wantKind(t, "put over a stale ETag", err, dg.ErrConflict)
	_, err = s.store.Put(ctx, bucketA, key, []byte("3"), objstore.PutOptions{IfNoneMatch: true})
	wantKind(t, "create what is there", err, dg.ErrConflict)
	s.wantObject(t, bucketA, key, "2", "application/octet-stream", nil)
	must(t, s.store.Delete(ctx, bucketA, key))
	_, err = s.store.Put(ctx, bucketA, key, []byte("3"), objstore.PutOptions{IfMatch: second})
	wantKind(t, "put over what has gone", err, dg.ErrConflict)
	_, err = s.store.Stat(ctx, bucketA, key)
	wantKind(t, "stat of what has gone", err, dg.ErrNotFound)
	_, err = s.store.Put(ctx, bucketA, key, nil, objstore.PutOptions{IfMatch: second, IfNoneMatch: true})
	wantKind(t, "both conditions", err, dg.ErrInvalid)
}

func (s suite) presigned(t *testing.T) {
	key := s.key("presigned/été 1.jpg")
	s.put(t, bucketA, key, "image", objstore.PutOptions{ContentType: "image/jpeg"})
	address, err := s.store.PresignGet(t.Context(), bucketA, key, time.Hour)
	must(t, err)
	fetch := func(address string) (int, string, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		must(t, err)
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		return resp.StatusCode, string(body), resp.Header.Get("Content-Type")
	}
	if status, body, contentType := fetch(address); status != 200 || body != "image" || contentType != "image/jpeg" {
		t.Errorf("presigned: %d %q %s, want 200 image as image/jpeg", status, body, contentType)
	}
	u, err := url.Parse(address)
	must(t, err)
	if status, _, _ := fetch(strings.Replace(address, "presigned", "presumed", 1)); status != http.StatusForbidden {
		t.Errorf("presigned for another key: %d, want 403", status)
	}
	u.RawQuery = ""
	if status, _, _ := fetch(u.String()); status != http.StatusForbidden {
		t.Errorf("without a signature: %d, want 403", status)
	}
	for _, expiry := range []time.Duration{0, -time.Second, 8 * 24 * time.Hour} {
		_, err := s.store.PresignGet(t.Context(), bucketA, key, expiry)
		wantKind(t, "presign for "+expiry.String(), err, dg.ErrInvalid)
	}
}

func (s suite) ranges(t *testing.T) {
	key := s.key("range")
	s.put(t, bucketA, key, "0123456789", objstore.PutOptions{})
	for _, tt := range []struct {
		offset, length int64
		want           string
		kind           error
	}{
		{0, 1, "0", nil},
		{3, 4, "3456", nil},
		{8, 100, "89", nil},
		{0, 10, "0123456789", nil},
		{10, 1, "", dg.ErrInvalid},
		{-1, 5, "", dg.ErrInvalid},
		{0, 0, "", dg.ErrInvalid},
		{0, objstore.MaxObjectBytes + 1, "", dg.ErrInvalid},
	} {
		got, err := s.store.GetRange(t.Context(), bucketA, key, tt.offset, tt.length)
		if string(got) != tt.want || !errors.Is(err, tt.kind) {
			t.Errorf("GetRange(%d, %d) = %q, %v, want %q, %v", tt.offset, tt.length, got, err, tt.want, tt.kind)
		}
	}
}
