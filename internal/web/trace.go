package web

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"
)

// untraced are the routes that machines ask every few seconds, and the stream,
// whose length says nothing.
var untraced = map[string]bool{"/-/healthy": true, "/-/ready": true, "/metrics": true, "/events": true}

// trace gives each request a span named by its route's pattern.
func (s *server) trace(c *gin.Context) {
	if untraced[c.FullPath()] {
		c.Next()
		return
	}
	ctx, span := s.o.Tracer.Serve(c.Request, c.Writer.Header(), methodOf(c.Request), routeOf(c))
	defer span.End()
	c.Request = c.Request.WithContext(ctx)
	c.Next()
	status := c.Writer.Status()
	span.SetInt("http.response.status_code", status)
	if status >= http.StatusInternalServerError {
		span.Fail(errors.New(statusText(status)))
	}
}

// routeOf is the pattern of a request's route, so that the set is closed.
func routeOf(c *gin.Context) string {
	if route := c.FullPath(); route != "" {
		return route
	}
	return "none"
}

// methodOf is the request's method, of a closed set.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodPost, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch:
		return r.Method
	}
	return "other"
}
