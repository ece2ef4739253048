package objstore_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
)

// serveThrough starts an embedded server behind handle, which gets every
// request and the way on to the server, and returns a client of the front.
func serveThrough(t *testing.T, handle func(w http.ResponseWriter, r *http.Request, server http.Handler)) *objstore.Store {
	t.Helper()
	s, err := embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	back, err := url.Parse(s.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	server := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(back)
		r.Out.Host = r.In.Host // it is signed
	}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, server) }))
	t.Cleanup(front.Close)
	access, secret := s.Credentials()
	store, err := objstore.Open(objstore.Options{Endpoint: front.URL, AccessKey: access, SecretKey: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if err := store.EnsureBuckets(t.Context(), "models"); err != nil {
		t.Fatal(err)
	}
	return store
}

// hangUp ends a request without an answer.
func hangUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

func TestLostReplies(t *testing.T) {
	var lose atomic.Value // "", "reply": carry it out and hang up, "request": hang up
	lose.Store("")
	var puts atomic.Int64
	store := serveThrough(t, func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		mode := lose.Load().(string)
		if r.Method != http.MethodPut || mode == "" {
			server.ServeHTTP(w, r)
			return
		}
		puts.Add(1)
		if mode == "reply" {
			server.ServeHTTP(httptest.NewRecorder(), r)
		}
		hangUp(w)
	})
	ctx := t.Context()
	tags := map[string]string{"a": "b"}
	etag, err := store.Put(ctx, "models", "champion", []byte("1"), objstore.PutOptions{Tags: tags})
	if err != nil {
		t.Fatal(err)
	}

	lose.Store("reply")
	puts.Store(0)
	second, err := store.Put(ctx, "models", "champion", []byte("2"), objstore.PutOptions{IfMatch: etag, Tags: tags})
	if err != nil {
		t.Errorf("a swap whose reply was lost: %v, want success: the record holds what was sent", err)
	}
	if n := puts.Load(); n != 1 {
		t.Errorf("a conditional put was sent %d times, want once", n)
	}
	if o, err := store.Stat(ctx, "models", "champion"); err != nil || o.ETag != second {
		t.Errorf("ETag %q after the swap, stored is %q, %v", second, o.ETag, err)
	}
	puts.Store(0)
	if _, err := store.Put(ctx, "models", "created", []byte("1"), objstore.PutOptions{IfNoneMatch: true}); err != nil || puts.Load() != 1 {
		t.Errorf("a creation whose reply was lost: %v after %d puts, want success after one", err, puts.Load())
	}

	lose.Store("request")
	puts.Store(0)
	_, err = store.Put(ctx, "models", "champion", []byte("3"), objstore.PutOptions{IfMatch: second})
	if err == nil || errors.Is(err, dg.ErrConflict) || puts.Load() != 1 {
		t.Errorf("a swap that never arrived: %v after %d puts, want an error that is no conflict after one", err, puts.Load())
	}
	_, err = store.Put(ctx, "models", "never", []byte("3"), objstore.PutOptions{IfNoneMatch: true})
	if err == nil || errors.Is(err, dg.ErrConflict) {
		t.Errorf("a creation that never arrived: %v, want an error that is no conflict", err)
	}
	puts.Store(0)
	started := time.Now()
	_, err = store.Put(ctx, "models", "plain", []byte("3"), objstore.PutOptions{})
	if err == nil || puts.Load() < 2 || time.Since(started) > 20*time.Second {
		t.Errorf("a plain put that never arrives: %v after %d puts and %s, want some attempts and an error", err, puts.Load(), time.Since(started))
	}
	lose.Store("")
	if body, _, err := store.Get(ctx, "models", "champion"); err != nil || string(body) != "2" {
		t.Errorf("the record holds %q, %v, want 2", body, err)
	}
}

func TestListingWithoutTagsFallsBack(t *testing.T) {
	userTags := regexp.MustCompile(`<UserTags>.*?</UserTags>`)
	var tagReads atomic.Int64
	store := serveThrough(t, func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		q := r.URL.Query()
		if q.Has("tagging") && r.Method == http.MethodGet {
			tagReads.Add(1)
		}
		if q.Get("list-type") != "2" {
			server.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder() // AWS lists no tags
		server.ServeHTTP(rec, r)
		body := userTags.ReplaceAll(rec.Body.Bytes(), nil)
		w.WriteHeader(rec.Code)
		if _, err := io.Copy(w, bytes.NewReader(body)); err != nil {
			t.Error(err)
		}
	})
	for _, key := range []string{"a", "b", "c"} {
		o := objstore.PutOptions{Tags: map[string]string{"key": key}}
		if key == "b" {
			o.Tags = nil
		}
		if _, err := store.Put(t.Context(), "models", key, nil, o); err != nil {
			t.Fatal(err)
		}
	}
	for o, err := range store.List(t.Context(), "models", "", true) {
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]string{"a": "a", "c": "c"}[o.Key]; o.Tags == nil || o.Tags["key"] != want {
			t.Errorf("listed %s with tags %v, want key=%q", o.Key, o.Tags, want)
		}
	}
	if n := tagReads.Load(); n != 3 {
		t.Errorf("%d tag requests for 3 objects", n)
	}
}

func TestBrokenBodiesAreReadAgain(t *testing.T) {
	var broken atomic.Int64
	store := serveThrough(t, func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/key") || broken.Add(1) > 2 {
			server.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		server.ServeHTTP(rec, r)
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		if _, err := w.Write(rec.Body.Bytes()[:4]); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	})
	if _, err := store.Put(t.Context(), "models", "key", []byte("0123456789"), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	body, _, err := store.Get(t.Context(), "models", "key")
	if err != nil || string(body) != "0123456789" {
		t.Errorf("after two broken connections: %q, %v", body, err)
	}
}

func TestErrorsHaveKinds(t *testing.T) {
	var status atomic.Int64
	store := serveThrough(t, func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		if s := int(status.Load()); s != 0 {
			w.WriteHeader(s)
			return
		}
		server.ServeHTTP(w, r)
	})
	for _, tt := range []struct {
		status int
		kind   error
	}{
		{404, dg.ErrNotFound}, {412, dg.ErrConflict}, {409, dg.ErrConflict}, {403, dg.ErrUnauthorized}, {507, dg.ErrFull},
	} {
		status.Store(int64(tt.status))
		_, err := store.Put(t.Context(), "models", "key", nil, objstore.PutOptions{})
		if !errors.Is(err, tt.kind) {
			t.Errorf("status %d: error %v, want %v", tt.status, err, tt.kind)
		}
	}
}
