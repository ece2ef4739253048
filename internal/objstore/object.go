package objstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	dg "driftgate"
)

// maxPresign is the longest life that S3 allows a presigned address.
const maxPresign = 7 * 24 * time.Hour

// Object describes a stored object.
type Object struct {
	Key         string
	ETag        string // without quotes
	Size        int64  // bytes
	Modified    time.Time
	ContentType string            // empty in listings
	Tags        map[string]string // nil unless asked for
}

// PutOptions say what goes along with an object, and when it may be written.
type PutOptions struct {
	Tags        map[string]string
	ContentType string // default application/octet-stream
	IfMatch     string // write only over the object with this ETag
	IfNoneMatch bool   // write only if there is no object
}

func (o PutOptions) conditional() bool { return o.IfMatch != "" || o.IfNoneMatch }

// Put stores body and tags in one request and returns the new ETag. When
// IfMatch or IfNoneMatch does not hold, nothing is written and the error is
// [driftgate.ErrConflict].
func (s *Store) Put(ctx context.Context, bucket, key string, body []byte, o PutOptions) (etag string, err error) {
	ctx, end := traced(ctx, "PutObject", bucket)
	defer end(&err)
	if err := errors.Join(ValidKey(key), ValidTags(o.Tags)); err != nil {
		return "", fmt.Errorf("objstore: put %s/%s: %w", bucket, key, err)
	}
	if len(body) > MaxObjectBytes {
		return "", fmt.Errorf("objstore: put %s/%s: %d bytes, want at most %d: %w", bucket, key, len(body), MaxObjectBytes, dg.ErrInvalid)
	}
	if o.IfMatch != "" && o.IfNoneMatch {
		return "", fmt.Errorf("objstore: put %s/%s: want IfMatch or IfNoneMatch, not both: %w", bucket, key, dg.ErrInvalid)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	unlock, err := s.locks.lock(ctx, bucket+"/"+key)
	if err != nil {
		return "", fmt.Errorf("objstore: put %s/%s: %w", bucket, key, err)
	}
	defer unlock()
	if etag, err = s.put(ctx, bucket, key, body, o); err != nil {
		return "", fmt.Errorf("objstore: put %s/%s: %w", bucket, key, err)
	}
	return etag, nil
}

func (s *Store) put(ctx context.Context, bucket, key string, body []byte, o PutOptions) (string, error) {
	// One hash over the body, signed with the request: the client's default, a
	// signature for each 64 KiB chunk, costs more and adds nothing.
	sum := sha256.Sum256(body)
	po := minio.PutObjectOptions{ContentType: o.ContentType, UserTags: o.Tags, DisableContentSha256: true}
	client := s.repeat
	switch {
	case o.IfMatch != "":
		po.SetMatchETag(o.IfMatch)
		client = s.once
	case o.IfNoneMatch:
		po.SetMatchETagExcept("*")
		client = s.once
	}
	info, err := client.PutObject(ctx, bucket, key, bytes.NewReader(body), int64(len(body)), "", hex.EncodeToString(sum[:]), po)
	if err == nil {
		return info.ETag, nil
	}
	if o.conditional() {
		return s.settle(ctx, bucket, key, body, o, err)
	}
	return "", classify(err)
}

// Get returns a whole object; one above [MaxObjectBytes] is [driftgate.ErrInvalid].
func (s *Store) Get(ctx context.Context, bucket, key string) (body []byte, obj Object, err error) {
	ctx, end := traced(ctx, "GetObject", bucket)
	defer end(&err)
	if err := ValidKey(key); err != nil {
		return nil, Object{}, fmt.Errorf("objstore: get %s/%s: %w", bucket, key, err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if body, obj, err = s.read(ctx, bucket, key, minio.GetObjectOptions{}); err != nil {
		return nil, Object{}, fmt.Errorf("objstore: get %s/%s: %w", bucket, key, err)
	}
	return body, obj, nil
}

// GetRange returns length bytes from offset on, fewer where the object ends
// before. An offset at or beyond the end is [driftgate.ErrInvalid].
func (s *Store) GetRange(ctx context.Context, bucket, key string, offset, length int64) (body []byte, err error) {
	ctx, end := traced(ctx, "GetObject", bucket)
	defer end(&err)
	if err := ValidKey(key); err != nil {
		return nil, fmt.Errorf("objstore: get range of %s/%s: %w", bucket, key, err)
	}
	var o minio.GetObjectOptions
	if offset < 0 || length < 1 || length > MaxObjectBytes {
		return nil, fmt.Errorf("objstore: get range of %s/%s: offset %d, length %d: want offset at least 0, length 1 to %d: %w", bucket, key, offset, length, MaxObjectBytes, dg.ErrInvalid)
	}
	if err := o.SetRange(offset, offset+length-1); err != nil {
		return nil, fmt.Errorf("objstore: get range of %s/%s: %w: %w", bucket, key, err, dg.ErrInvalid)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if body, _, err = s.read(ctx, bucket, key, o); err != nil {
		return nil, fmt.Errorf("objstore: get range of %s/%s: %w", bucket, key, err)
	}
	return body, nil
}

// read fetches a body, again when the connection breaks within it; the client
// below repeats only requests that got no answer.
func (s *Store) read(ctx context.Context, bucket, key string, o minio.GetObjectOptions) (body []byte, obj Object, err error) {
	for range maxAttempts {
		r, info, _, openErr := s.repeat.GetObject(ctx, bucket, key, o)
		if openErr != nil {
			return nil, Object{}, classify(openErr)
		}
		if info.Size < 0 || info.Size > MaxObjectBytes {
			_ = r.Close() // nothing was read from it
			return nil, Object{}, fmt.Errorf("%d bytes, want at most %d: %w", info.Size, MaxObjectBytes, dg.ErrInvalid)
		}
		body = make([]byte, info.Size)
		_, err = io.ReadFull(r, body)
		_ = r.Close() // read to its end, or broken already
		if err == nil {
			return body, object(key, info), nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, Object{}, fmt.Errorf("read body: %w", err)
}

// Stat describes an object without fetching it.
func (s *Store) Stat(ctx context.Context, bucket, key string) (_ Object, err error) {
	ctx, end := traced(ctx, "HeadObject", bucket)
	defer end(&err)
	if err := ValidKey(key); err != nil {
		return Object{}, fmt.Errorf("objstore: stat %s/%s: %w", bucket, key, err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	info, err := s.repeat.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return Object{}, fmt.Errorf("objstore: stat %s/%s: %w", bucket, key, classify(err))
	}
	return object(key, info), nil
}

func object(key string, info minio.ObjectInfo) Object {
	return Object{Key: key, ETag: info.ETag, Size: info.Size, Modified: info.LastModified, ContentType: info.ContentType}
}

// Delete removes objects; those that are missing are no error.
func (s *Store) Delete(ctx context.Context, bucket string, keys ...string) (err error) {
	ctx, end := traced(ctx, "DeleteObjects", bucket)
	defer end(&err)
	for _, key := range keys {
		if err := ValidKey(key); err != nil {
			return fmt.Errorf("objstore: delete %s/%s: %w", bucket, key, err)
		}
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if len(keys) == 1 {
		err := classify(s.repeat.RemoveObject(ctx, bucket, keys[0], minio.RemoveObjectOptions{}))
		if err != nil && !isNoSuchKey(err) {
			return fmt.Errorf("objstore: delete %s/%s: %w", bucket, keys[0], err)
		}
		return nil
	}
	queue := make(chan minio.ObjectInfo, len(keys))
	for _, key := range keys {
		queue <- minio.ObjectInfo{Key: key}
	}
	close(queue)
	var errs []error
	for failed := range s.repeat.RemoveObjects(ctx, bucket, queue, minio.RemoveObjectsOptions{}) {
		if err := classify(failed.Err); !isNoSuchKey(err) && len(errs) < 10 {
			errs = append(errs, fmt.Errorf("%s: %w", failed.ObjectName, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("objstore: delete from %s: %w", bucket, err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("objstore: delete from %s: %w", bucket, err)
	}
	return nil
}

// PresignGet returns an address under the public endpoint with which anybody
// can fetch the object until expiry, 1 second to 7 days, has passed.
func (s *Store) PresignGet(ctx context.Context, bucket, key string, expiry time.Duration) (string, error) {
	if err := ValidKey(key); err != nil {
		return "", fmt.Errorf("objstore: presign %s/%s: %w", bucket, key, err)
	}
	if expiry < time.Second || expiry > maxPresign {
		return "", fmt.Errorf("objstore: presign %s/%s: expiry %s, want 1s to %s: %w", bucket, key, expiry, maxPresign, dg.ErrInvalid)
	}
	u, err := s.public.PresignedGetObject(ctx, bucket, key, expiry, nil)
	if err != nil {
		return "", fmt.Errorf("objstore: presign %s/%s: %w", bucket, key, classify(err))
	}
	return u.String(), nil
}
