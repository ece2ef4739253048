package objstore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	dg "driftgate"
)

// settleTimeout bounds the reading back after a lost reply. It is granted even
// when the caller's context has ended: not knowing is worse than being late.
const settleTimeout = 10 * time.Second

// settle finds out how a conditional put that failed with cause has ended.
//
// A server's refusal is final. Otherwise the reply is lost, and only the object
// can tell: if it is what we sent, the put has succeeded. If it is not, the
// cause is returned rather than a conflict, for the request may still be on its
// way, or may have been carried out and overwritten since.
func (s *Store) settle(ctx context.Context, bucket, key string, body []byte, o PutOptions, cause error) (string, error) {
	response := minio.ToErrorResponse(cause)
	switch {
	case o.IfMatch != "" && response.Code == minio.NoSuchKey:
		return "", kindError{dg.ErrConflict, cause} // the object that was to be replaced is gone
	case response.StatusCode >= 300 && response.StatusCode < http.StatusInternalServerError &&
		response.StatusCode != http.StatusRequestTimeout:
		return "", classify(cause)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	stored, obj, err := s.read(ctx, bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return "", fmt.Errorf("reply lost (%w), read back: %w", cause, err)
	}
	if !bytes.Equal(stored, body) {
		return "", fmt.Errorf("reply lost, and another object is there: %w", cause)
	}
	if len(o.Tags) > 0 {
		tags, err := s.tags(ctx, bucket, key)
		if err != nil || !maps.Equal(tags, o.Tags) {
			return "", fmt.Errorf("reply lost, and the object has other tags: %w", cause)
		}
	}
	return obj.ETag, nil
}
