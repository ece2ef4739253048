package objstore

import (
	"errors"
	"net/http"

	"github.com/minio/minio-go/v7"

	dg "driftgate"
)

// kindError joins an S3 error with the kind that callers know it by.
type kindError struct {
	kind  error
	cause error
}

func (e kindError) Error() string   { return e.kind.Error() + ": " + e.cause.Error() }
func (e kindError) Unwrap() []error { return []error{e.kind, e.cause} }

// classify gives an S3 error its kind; those of the moment stay as they are.
func classify(err error) error {
	if err == nil {
		return nil
	}
	response := minio.ToErrorResponse(err)
	var kind error
	switch {
	case response.StatusCode == http.StatusPreconditionFailed, response.Code == minio.PreconditionFailed,
		response.StatusCode == http.StatusConflict:
		kind = dg.ErrConflict
	case response.StatusCode == http.StatusNotFound, response.Code == minio.NoSuchKey, response.Code == minio.NoSuchBucket:
		kind = dg.ErrNotFound
	case response.StatusCode == http.StatusForbidden, response.StatusCode == http.StatusUnauthorized:
		kind = dg.ErrUnauthorized
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		kind = dg.ErrInvalid
	case response.StatusCode == http.StatusInsufficientStorage:
		kind = dg.ErrFull
	default:
		return err
	}
	return kindError{kind, err}
}

func isNoSuchKey(err error) bool {
	return errors.Is(err, dg.ErrNotFound) && minio.ToErrorResponse(unwrapCause(err)).Code != minio.NoSuchBucket
}

func unwrapCause(err error) error {
	var e kindError
	if errors.As(err, &e) {
		return e.cause
	}
	return err
}
