package web

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	dg "driftgate"
)

// Problem is the body of every error answer: RFC 9457 problem details. Detail
// says what is wrong, where, and what would be right.
type Problem struct {
	Type   string              `json:"type,omitempty" doc:"a URI for the kind of problem; absent means about:blank"`
	Title  string              `json:"title" doc:"the status in words"`
	Status int                 `json:"status" doc:"the HTTP status"`
	Detail string              `json:"detail,omitempty" doc:"what is wrong, and what would be right"`
	RunID  string              `json:"run_id,omitempty" doc:"the run that is under way, when the answer is busy"`
	Errors []*huma.ErrorDetail `json:"errors,omitempty" doc:"one entry a fault of the request"`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes JSON application/problem+json.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// retryAfterSeconds is what a 429 or 503 asks the client to wait.
const retryAfterSeconds = 5

// statusClientGone is nginx's code for a client that left before the answer.
const statusClientGone = 499

// kinds maps the sentinel errors to HTTP statuses; the first match wins. It is
// the only such map.
var kinds = []struct {
	kind   error
	status int
}{
	{dg.ErrUnauthorized, http.StatusUnauthorized},
	{dg.ErrNotFound, http.StatusNotFound},
	{dg.ErrInvalid, http.StatusUnprocessableEntity},
	{dg.ErrConflict, http.StatusConflict},
	{dg.ErrBusy, http.StatusLocked},
	{dg.ErrRefused, http.StatusConflict},
	{dg.ErrTooFewSamples, http.StatusConflict},
	{dg.ErrFull, http.StatusServiceUnavailable},
	{dg.ErrIncomplete, http.StatusServiceUnavailable},
	{context.DeadlineExceeded, http.StatusGatewayTimeout},
	{context.Canceled, statusClientGone},
}

// statusOf returns the HTTP status that err deserves; 500 for errors of no
// known kind.
func statusOf(err error) int {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Status
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge
	}
	for _, k := range kinds {
		if errors.Is(err, k.kind) {
			return k.status
		}
	}
	return http.StatusInternalServerError
}

// problemOf renders err for people outside. The text of an error of no known
// kind may name files and hosts: only the log and people with the token see it.
func problemOf(err error, trusted bool) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	p := &Problem{Status: statusOf(err), Detail: err.Error()}
	p.Title = statusText(p.Status)
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		p.Detail = "the request body is larger than the limit of " + strconv.FormatInt(e.Limit, 10) + " bytes"
	}
	if p.Status == http.StatusInternalServerError && !trusted {
		p.Detail = "something went wrong here; the log of the gateway says what"
	}
	return p
}

func newProblem(status int, detail string) *Problem {
	return &Problem{Status: status, Title: statusText(status), Detail: detail}
}

func statusText(status int) string {
	if status == statusClientGone {
		return "Client Closed Request"
	}
	return http.StatusText(status)
}

// apiError turns an error of a floor below into the answer of an API
// operation, and logs what is the gateway's own fault.
func (s *server) apiError(ctx context.Context, err error) error {
	if status := statusOf(err); status >= 500 {
		s.log.LogAttrs(ctx, level(status), "request failed", slog.Int("status", status), slog.Any("error", err))
	}
	return problemOf(err, true)
}

// level is how loud a failed request is: 503 says "later", and that is no fault
// of the moment's.
func level(status int) slog.Level {
	if status == http.StatusServiceUnavailable {
		return slog.LevelWarn
	}
	return slog.LevelError
}

// fail answers a request of the root routes and pages with err: as a page when
// the client wants HTML, else as a problem document.
func (s *server) fail(c *gin.Context, err error) {
	p := problemOf(err, s.signedIn(c))
	if p.Status >= 500 {
		s.log.LogAttrs(c.Request.Context(), level(p.Status), "request failed", slog.String("route", c.FullPath()),
			slog.Int("status", p.Status), slog.Any("error", err))
	}
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		c.Header("Retry-After", strconv.Itoa(retryAfterSeconds))
	}
	if p.Status == http.StatusUnauthorized {
		c.Header("WWW-Authenticate", `Bearer realm="driftgate"`)
	}
	if wantsHTML(c.Request) {
		s.page(c, p.Status, "error", s.errorPage(p))
		c.Abort()
		return
	}
	body, jerr := json.Marshal(p)
	if jerr != nil { // cannot happen: the fields are plain
		body = []byte(`{"title":"Internal Server Error","status":500}`)
	}
	c.Data(p.Status, "application/problem+json", append(body, '\n'))
	c.Abort()
}

// wantsHTML reports whether the client prefers a page: text/html stands in
// Accept and JSON doesn't come before it.
func wantsHTML(r *http.Request) bool {
	accept := strings.ToLower(strings.Join(r.Header.Values("Accept"), ","))
	html := strings.Index(accept, "text/html")
	js := strings.Index(accept, "application/json")
	return html >= 0 && (js < 0 || html < js)
}

// wantsJSON reports whether the client asks for JSON by Accept.
func wantsJSON(r *http.Request) bool {
	accept := strings.ToLower(strings.Join(r.Header.Values("Accept"), ","))
	return strings.Contains(accept, "application/json") && !wantsHTML(r)
}
