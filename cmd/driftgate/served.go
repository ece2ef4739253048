package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"driftgate"
	"driftgate/internal/app"
)

// followFor is how long a command that moved the champion waits until the
// gateway answers by it: several times serving.follow.
const followFor = 10 * time.Second

// served waits until the gateway serves ref, so that the next command of a
// script meets the model that this one put on the throne, and says so on w when
// it does not come. The champion record has moved in either case.
func served(ctx context.Context, c *app.Client, ref driftgate.ModelRef, w io.Writer) {
	ctx, cancel := context.WithTimeout(ctx, followFor)
	defer cancel()
	for {
		var now struct {
			Digest driftgate.ModelRef `json:"digest"`
		}
		if err := c.Get(ctx, "/version", &now); err == nil && now.Digest == ref {
			return
		}
		select {
		case <-ctx.Done():
			fmt.Fprintf(w, "the gateway does not serve %s yet: its log says why under \"champion not followed\"\n", ref.Short())
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}
