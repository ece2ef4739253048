package web

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// instruments are the web's own series. The first two keep the names that the
// old model server's dashboards read.
type instruments struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	limited   prometheus.Counter
	alerts    *prometheus.CounterVec
	truncated prometheus.Counter
}

func newInstruments(reg prometheus.Registerer) *instruments {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	auto := promauto.With(reg)
	m := &instruments{
		requests: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total", Help: "Requests answered, by route, method and class of status.",
		}, []string{"handler", "method", "status"}),
		durations: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_request_duration_seconds", Help: "Time to answer a request, by route and method.",
			Buckets:                     []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"handler", "method"}),
		limited: auto.NewCounter(prometheus.CounterOpts{
			Name: "driftgate_http_limited_total", Help: "Requests refused because their client sent too many.",
		}),
		alerts: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "driftgate_webhook_alerts_total", Help: "Alerts that Alertmanager delivered, by what became of them.",
		}, []string{"result"}),
		truncated: auto.NewCounter(prometheus.CounterOpts{
			Name: "driftgate_webhook_truncated_alerts_total", Help: "Alerts that Alertmanager left out of its deliveries (max_alerts).",
		}),
	}
	for _, r := range []string{"recorded", "ignored"} {
		m.alerts.WithLabelValues(r)
	}
	return m
}

// measure counts and times every request under its route, so that the label
// set stays closed.
func (s *server) measure(c *gin.Context) {
	start := time.Now()
	c.Next()
	route, method := routeOf(c), methodOf(c.Request)
	s.metrics.requests.WithLabelValues(route, method, strconv.Itoa(c.Writer.Status()/100)+"xx").Inc()
	if route != "/events" { // a stream's length says nothing
		s.metrics.durations.WithLabelValues(route, method).Observe(time.Since(start).Seconds())
	}
}

// recovered turns a panic into a 500 and a line in the log.
func (s *server) recovered(c *gin.Context) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if err, ok := r.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(r)
		}
		s.log.ErrorContext(c.Request.Context(), "panic in a handler", "route", c.FullPath(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		if c.Writer.Written() {
			panic(http.ErrAbortHandler) // half an answer must not look whole
		}
		s.fail(c, newProblem(http.StatusInternalServerError, "something went wrong here; the log of the gateway says what"))
	}()
	c.Next()
}

const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; " +
	"manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// securityHeaders sets what keeps a page from running or framing foreign
// things. There is no inline script and no inline style anywhere.
func securityHeaders(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	c.Next()
}

func (s *server) noRoute(c *gin.Context) {
	s.fail(c, newProblem(http.StatusNotFound, "there is nothing at "+clip(c.Request.URL.Path, 200)))
}

func (s *server) noMethod(c *gin.Context) {
	s.fail(c, newProblem(http.StatusMethodNotAllowed, c.Request.Method+" is not for "+clip(c.Request.URL.Path, 200)))
}

// missing answers for a service that was not given.
func (s *server) missing(what string) gin.HandlerFunc {
	return func(c *gin.Context) {
		s.fail(c, newProblem(http.StatusNotImplemented, what+" is not part of this gateway"))
	}
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
