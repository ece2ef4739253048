package objstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/objstore"
)

func TestOpenRefusesEveryFaultAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    objstore.Options
		want []string
	}{
		{"nothing", objstore.Options{}, []string{"endpoint", "access_key"}},
		{"no scheme", objstore.Options{Endpoint: "localhost:9000", AccessKey: "a", SecretKey: "b"}, []string{"http://host:port"}},
		{"a path", objstore.Options{Endpoint: "http://h/minio", AccessKey: "a", SecretKey: "b"}, []string{"without path"}},
		{"a user", objstore.Options{Endpoint: "http://u:p@h", AccessKey: "a", SecretKey: "b"}, []string{"without path or user"}},
		{"two faults", objstore.Options{Endpoint: "ftp://h", PublicEndpoint: "h", AccessKey: "a"}, []string{"endpoint \"ftp", "public_endpoint \"h", "secret_key"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := objstore.Open(tt.o)
			if !errors.Is(err, dg.ErrInvalid) {
				t.Fatalf("error %v, want %v", err, dg.ErrInvalid)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not mention %q", err, want)
				}
			}
		})
	}
}

func TestPresignNamesThePublicEndpoint(t *testing.T) {
	store, err := objstore.Open(objstore.Options{Endpoint: "http://127.0.0.1:1", PublicEndpoint: "https://s3.example.com", AccessKey: "a", SecretKey: "b"})
	if err != nil {
		t.Fatal(err)
	}
	address, err := store.PresignGet(t.Context(), "production", "class_01/a b.png", 7*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(address, "https://s3.example.com/production/class_01/a%20b.png?") || !strings.Contains(address, "X-Amz-Expires=604800") {
		t.Errorf("address %s", address)
	}
}

func TestAServerThatIsGoneIsAnErrorSoon(t *testing.T) {
	store, err := objstore.Open(objstore.Options{Endpoint: "http://127.0.0.1:1", AccessKey: "a", SecretKey: "b"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for what, err := range map[string]error{
		"ready":  store.Ready(ctx),
		"ensure": store.EnsureBuckets(ctx, "b"),
		"delete": store.Delete(ctx, "b", "k", "l"),
		"tags":   store.UpdateTags(ctx, "b", "k", func(map[string]string) error { return nil }),
	} {
		if err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, dg.ErrNotFound) {
			t.Errorf("%s: error %v, want a refused connection", what, err)
		}
	}
}

func TestBucketNames(t *testing.T) {
	b := objstore.DefaultBuckets("test-")
	want := "test-production test-production-label-wait test-production-noisy test-production-clean test-models test-datasets"
	if got := strings.Join(b.All(), " "); got != want {
		t.Errorf("buckets %s, want %s", got, want)
	}
}
