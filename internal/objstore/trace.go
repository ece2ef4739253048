package objstore

import (
	"context"
	"errors"

	dg "driftgate"
	"driftgate/internal/telemetry"
)

// traced begins the span of one call to the server, with its repetitions and,
// for a list, with what the caller does with it; end(&err) ends it. The span
// holds no key, no tag and no error's text.
func traced(ctx context.Context, operation, bucket string) (_ context.Context, end func(*error)) {
	ctx, span := telemetry.StartClient(ctx, "S3/"+operation)
	span.SetString("rpc.method", operation)
	span.SetString("aws.s3.bucket", bucket)
	return ctx, func(err *error) {
		defer span.End()
		if *err == nil {
			return
		}
		kind := kindOf(*err)
		span.SetString("error.type", kind)
		switch kind {
		case "not_found", "conflict", "cancelled": // answers, not failures
		default:
			span.Fail(errors.New(kind))
		}
	}
}

func kindOf(err error) string {
	for _, k := range []struct {
		err  error
		name string
	}{{dg.ErrNotFound, "not_found"}, {dg.ErrConflict, "conflict"}, {dg.ErrUnauthorized, "unauthorized"}, {dg.ErrInvalid, "invalid"}, {dg.ErrFull, "full"},
		{context.Canceled, "cancelled"}, {context.DeadlineExceeded, "timeout"}} {
		if errors.Is(err, k.err) {
			return k.name
		}
	}
	return "other"
}
