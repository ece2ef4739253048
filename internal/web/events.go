package web

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

const (
	eventEvery    = time.Second      // how often the status is looked at
	keepAlive     = 15 * time.Second // a comment, so that proxies keep the stream
	maxStreams    = 64               // at once
	streamTimeout = 30 * time.Second // for one write to a client that doesn't read
)

// events streams the status as server-sent events: once at the beginning, then
// whenever something but the clock has changed.
func (s *server) events(c *gin.Context) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		s.fail(c, newProblem(http.StatusServiceUnavailable, "too many pages watch at once: close one"))
		return
	}
	ctx := c.Request.Context()
	h := c.Writer.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	c.Status(http.StatusOK)
	control := http.NewResponseController(c.Writer)
	tick := time.NewTicker(eventEvery)
	defer tick.Stop()
	var last []byte
	silent := time.Duration(0)
	for {
		message, err := s.statusMessage(ctx, &last)
		if err != nil {
			s.log.Error("status for the pages", "error", err)
			message = []byte("event: trouble\ndata: the gateway can't read its own status; its log says why\n\n")
		}
		if message == nil && silent >= keepAlive {
			message = []byte(": still here\n\n")
		}
		if message != nil {
			silent = 0
			_ = control.SetWriteDeadline(time.Now().Add(streamTimeout)) // not every writer has one
			if _, err := c.Writer.Write(message); err != nil {
				return
			}
			c.Writer.Flush()
		}
		silent += eventEvery
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-s.stopping:
			return
		}
		if c.GetBool(sessionKey) && !s.sessions.valid(cookieOf(c.Request), time.Now()) {
			return // signed out meanwhile
		}
	}
}

// statusMessage renders the status as an event; nil when nothing has changed
// since last.
func (s *server) statusMessage(ctx context.Context, last *[]byte) ([]byte, error) {
	st, err := s.status(ctx)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	now := st.Now
	st.Now = time.Time{}
	same, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(same, *last) {
		return nil, nil
	}
	*last = same
	message := make([]byte, 0, len(body)+64)
	message = append(message, "event: status\nid: "...)
	message = append(message, now.Format(time.RFC3339Nano)...)
	message = append(message, "\ndata: "...)
	message = append(message, body...)
	return append(message, "\n\n"...), nil
}
