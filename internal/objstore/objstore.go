// Package objstore is driftgate's door to any S3: MinIO, AWS, or the server
// that package embedded runs in this process.
//
// An object and its tags are written in one request, so no reader ever sees
// one without the other. Writes to one key through one [Store], of which a
// process needs no more, take turns: two tag edits never lose each other.
// Conditional puts are sent once and never blindly repeated; when the reply is
// lost, the object is read back and compared, for a lost reply would otherwise
// look like a conflict.
//
// Keys and tags that some server would refuse, drop or mangle are refused here,
// before anything is sent, as [driftgate.ErrInvalid]. Other kinds of error are
// [driftgate.ErrNotFound], [driftgate.ErrConflict] (a condition did not hold)
// and [driftgate.ErrUnauthorized]; the rest may be retried.
package objstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	dg "driftgate"
)

// MaxObjectBytes is the largest object that Put sends and Get returns.
const MaxObjectBytes = 256 << 20

const (
	defaultRegion  = "us-east-1"
	maxAttempts    = 4               // of requests that may safely be repeated; with pauses, within about 2 s
	requestTimeout = 2 * time.Minute // of a request whose context has no deadline of its own
)

// Options say which server, as whom.
type Options struct {
	Endpoint       string `json:"endpoint"` // "http://host:port" or "https://host", without a path
	AccessKey      string `json:"access_key"`
	SecretKey      string `json:"secret_key"`
	Region         string `json:"region,omitempty"`          // default us-east-1
	PublicEndpoint string `json:"public_endpoint,omitempty"` // where browsers reach the server, for presigned addresses; default Endpoint
}

// Validate reports every fault of o at once, as [driftgate.ErrInvalid].
func (o Options) Validate() error {
	var errs []error
	if _, err := parseEndpoint("endpoint", o.Endpoint); err != nil {
		errs = append(errs, err)
	}
	if o.PublicEndpoint != "" {
		if _, err := parseEndpoint("public_endpoint", o.PublicEndpoint); err != nil {
			errs = append(errs, err)
		}
	}
	if o.AccessKey == "" || o.SecretKey == "" {
		errs = append(errs, fmt.Errorf("access_key and secret_key: want both: %w", dg.ErrInvalid))
	}
	return errors.Join(errs...)
}

func parseEndpoint(name, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" ||
		(u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%s %q: want http://host:port or https://host, without path or user: %w", name, s, dg.ErrInvalid)
	}
	return u, nil
}

// Store is a client of one S3 server. It is safe for concurrent use; a process
// shares one, since only its users take turns on a key.
type Store struct {
	repeat minio.Core // for requests that may be repeated
	once   minio.Core // for those that may not: conditional puts
	public minio.Core // signs addresses for the public endpoint; sends nothing
	locks  keyLocks

	options   Options
	transport *http.Transport
	listsTags atomic.Bool // this server has answered a listing with tags
}

// Open makes a client; it sends nothing yet. See [Store.Ready].
func Open(o Options) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("objstore: open: %w", err)
	}
	if o.Region == "" {
		o.Region = defaultRegion // without it every bucket costs a question for its location
	}
	if o.PublicEndpoint == "" {
		o.PublicEndpoint = o.Endpoint
	}
	transport := newTransport()
	s := Store{options: o, transport: transport}
	for _, c := range []struct {
		core     *minio.Core
		endpoint string
		attempts int
	}{{&s.repeat, o.Endpoint, maxAttempts}, {&s.once, o.Endpoint, 1}, {&s.public, o.PublicEndpoint, 1}} {
		u, err := parseEndpoint("endpoint", c.endpoint)
		if err != nil {
			return nil, fmt.Errorf("objstore: open: %w", err)
		}
		core, err := minio.NewCore(u.Host, &minio.Options{
			Creds:      credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""),
			Secure:     u.Scheme == "https",
			Region:     o.Region,
			Transport:  transport,
			MaxRetries: c.attempts,
		})
		if err != nil {
			return nil, fmt.Errorf("objstore: open %s: %w", c.endpoint, err)
		}
		*c.core = *core
	}
	return &s, nil
}

// Options returns what the store was opened with, defaults filled in; a child
// process opens its own store with them.
func (s *Store) Options() Options { return s.options }

// Close closes idle connections. The store can still be used.
func (s *Store) Close() { s.transport.CloseIdleConnections() }

// newTransport keeps enough connections idle for a burst of small objects:
// net/http's two a host would open a new one for nearly every request.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   128,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		ExpectContinueTimeout: 5 * time.Second,
		DisableCompression:    true, // objects are returned as stored
		ForceAttemptHTTP2:     true,
	}
}

// Ready reports nil once the server answers an authorised request.
func (s *Store) Ready(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if _, err := s.once.ListBuckets(ctx); err != nil {
		return fmt.Errorf("objstore: reach %s: %w", s.once.EndpointURL(), classify(err))
	}
	return nil
}

// EnsureBuckets creates those of the named buckets that are not there.
func (s *Store) EnsureBuckets(ctx context.Context, names ...string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for _, name := range names {
		there, err := s.repeat.BucketExists(ctx, name)
		if err == nil && !there {
			err = s.repeat.MakeBucket(ctx, name, minio.MakeBucketOptions{})
		}
		switch minio.ToErrorResponse(err).Code {
		case minio.BucketAlreadyOwnedByYou, minio.BucketAlreadyExists:
			err = nil // somebody was faster
		}
		if err != nil {
			return fmt.Errorf("objstore: make bucket %s: %w", name, classify(err))
		}
	}
	return nil
}

// bounded gives ctx a deadline if it has none, so that no request hangs for
// ever on a server that has stopped answering.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, requestTimeout)
}

// Missing returns those of the named buckets that are not there; it makes none.
func (s *Store) Missing(ctx context.Context, names ...string) (missing []string, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for _, name := range names {
		there, err := s.repeat.BucketExists(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("objstore: look for bucket %s: %w", name, classify(err))
		}
		if !there {
			missing = append(missing, name)
		}
	}
	return missing, nil
}
