// Package web is driftgate's face: the model server's routes at the root, the
// JSON API under /api/v1 with its OpenAPI document, the Alertmanager webhook,
// and the pages for the people who run the loop.
//
// Every route is closed unless the route table says that it is open; what is
// open is limited in size, rate and number at once. A person's browser holds a
// session, never the token, and no other site can act with it. Everything
// shown about accuracy comes with its bounds, its counts, its window and its
// age. Nothing is fetched from anywhere else: style, script and pictures are
// embedded.
//
// The package decides nothing and keeps nothing but sessions: each answer is
// that of the service behind it.
package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"driftgate/alerts"
	"driftgate/internal/telemetry"
)

// Options are the web's settings. A zero field means its default.
type Options struct {
	Model   string // name of the model that is served; required
	Token   string // opens everything; required, at least 16 characters
	Version string // of this program, for the pages and the OpenAPI document

	AlertsToken   string        // opens POST /api/v1/alerts only, beside Token; empty: none
	AlertsLabel   string        // the label of alerts that ask for a retraining; default "action"
	AlertsValue   string        // ... and its value; default "retrain"
	AlertsWindow  time.Duration // span of the figure that alerts look at; default 24h
	OpenTriggers  bool          // POST /pipeline/start and /trigger-training ask for no token
	OpenMetrics   bool          // GET /metrics asks for no token
	SecureCookies bool          // a proxy in front speaks TLS

	MaxUploadBytes int64         // of one image; default 10 MiB
	MaxInFlight    int           // predictions at once; default 64; more wait a moment, then are refused
	RatePerSecond  float64       // requests of one client to the open routes; default 200; negative: no limit
	RateBurst      int           // ... and how many at once; default 400
	SessionLength  time.Duration // default 7 days
	TrustedProxies []string      // addresses or networks whose X-Forwarded-For is believed; default none

	Now        func() time.Time // the loop's clock, which may run faster than the wall's; default time.Now
	Tracer     *telemetry.Tracer
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

const (
	maxFormBytes  = 64 << 10 // of a form without a file
	maxAlertBytes = 16 << 20 // of a webhook delivery: 10,000 alerts of 1,600 bytes
	maxDeliveries = 4        // of alerts, taken apart at once
	maxJSONBytes  = 1 << 20  // of an API request
	maxLabelBytes = 64 << 20 // of a labels import
	minTokenRunes = 16       // a shorter one can be guessed
	waitForRoom   = 5 * time.Second
	maxPictures   = 4 // of suites, read at once
	// firstAlertBytes of a delivery are read before it has room: some 150 alerts.
	firstAlertBytes = 128 << 10
)

// Validate reports every fault at once.
func (o Options) Validate() error {
	var errs []error
	if o.Model == "" {
		errs = append(errs, errors.New("model: want a name"))
	}
	if len(o.Token) < minTokenRunes {
		errs = append(errs, fmt.Errorf("token: %d characters, want at least %d", len(o.Token), minTokenRunes))
	}
	if o.AlertsToken != "" && len(o.AlertsToken) < minTokenRunes {
		errs = append(errs, fmt.Errorf("alerts token: %d characters, want at least %d, or none", len(o.AlertsToken), minTokenRunes))
	}
	if o.MaxUploadBytes < 0 || o.MaxInFlight < 0 || o.RateBurst < 0 || o.SessionLength < 0 || o.AlertsWindow < 0 {
		errs = append(errs, errors.New("limits: want none below zero"))
	}
	return errors.Join(errs...)
}

func (o *Options) setDefaults() {
	set(&o.AlertsWindow, 24*time.Hour)
	set(&o.MaxUploadBytes, 10<<20)
	set(&o.MaxInFlight, 64)
	set(&o.RatePerSecond, 200)
	set(&o.RateBurst, 400)
	set(&o.SessionLength, 7*24*time.Hour)
	set(&o.Version, "devel")
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func set[T comparable](p *T, otherwise T) {
	var zero T
	if *p == zero {
		*p = otherwise
	}
}

// server is what the handlers share.
type server struct {
	d           Deps
	o           Options
	log         *slog.Logger
	routes      map[string]access // "METHOD /route" -> who may; absent: needsToken
	sessions    *sessions
	limit       *limiter
	live        atomic.Pointer[Live]
	deliveries  chan struct{} // one place a delivery of alerts being read
	room        chan struct{} // one place a prediction under way
	streams     chan struct{} // one place a page that watches
	stopping    chan struct{} // closed when they have to end
	stopOnce    sync.Once
	figures     *figures
	pictures    chan struct{} // one place an image of a suite being read
	count       capturedCount
	crossOrigin *http.CrossOriginProtection
	metrics     *instruments
	pages       *pages
	alerts      alerts.Options
	engine      *gin.Engine
	openapi     []byte
}

// Live are the settings that may change while the handler serves; a zero field
// means the default of [Options].
type Live struct {
	AlertsToken   string
	RatePerSecond float64
	RateBurst     int
}

// Handler serves all routes.
type Handler struct{ s *server }

// New returns the handler of all routes.
func New(d Deps, o Options) (*Handler, error) {
	s, err := newServer(d, o)
	if err != nil {
		return nil, err
	}
	return &Handler{s}, nil
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.s.engine.ServeHTTP(w, r) }

// Apply changes the live settings for every request from now on. The error is
// that of [Options.Validate]; then nothing has changed.
func (h *Handler) Apply(l Live) error {
	o := h.s.o
	o.AlertsToken, o.RatePerSecond, o.RateBurst = l.AlertsToken, l.RatePerSecond, l.RateBurst
	if err := o.Validate(); err != nil {
		return fmt.Errorf("web: options: %w", err)
	}
	o.setDefaults()
	h.s.live.Store(&Live{o.AlertsToken, o.RatePerSecond, o.RateBurst})
	h.s.limit.set(o.RatePerSecond, o.RateBurst)
	return nil
}

// EndStreams ends what would hold a shutdown up: the pages that watch, and the
// reports that are being computed.
func (h *Handler) EndStreams() {
	h.s.stopOnce.Do(func() {
		close(h.s.stopping)
		h.s.figures.stop()
	})
}

func newServer(d Deps, o Options) (*server, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("web: options: %w", err)
	}
	if d.Serving == nil || d.Labelling == nil || d.Models == nil || d.Accuracy == nil || d.Ledger == nil || d.Inbox == nil {
		return nil, errors.New("web: deps: want serving, labelling, models, accuracy, ledger and inbox")
	}
	o.setDefaults()
	s := &server{
		d: d, o: o, log: o.Logger.With("component", "web"),
		routes:      map[string]access{},
		sessions:    newSessions(o.SessionLength),
		limit:       newLimiter(o.RatePerSecond, o.RateBurst),
		room:        make(chan struct{}, o.MaxInFlight),
		streams:     make(chan struct{}, maxStreams),
		stopping:    make(chan struct{}),
		figures:     newFigures(d.Ledger.Revision),
		pictures:    make(chan struct{}, maxPictures),
		deliveries:  make(chan struct{}, maxDeliveries),
		crossOrigin: http.NewCrossOriginProtection(),
		metrics:     newInstruments(o.Registerer),
		alerts: alerts.Options{
			Label: o.AlertsLabel, Value: o.AlertsValue, Window: o.AlertsWindow,
			Models: map[string]struct{}{o.Model: {}},
		},
	}
	s.live.Store(&Live{o.AlertsToken, o.RatePerSecond, o.RateBurst})
	var err error
	if s.pages, err = loadPages(); err != nil {
		return nil, fmt.Errorf("web: read templates: %w", err)
	}
	gin.SetMode(gin.ReleaseMode)
	s.engine = gin.New()
	s.engine.HandleMethodNotAllowed = true
	s.engine.RedirectTrailingSlash = false
	if err := s.engine.SetTrustedProxies(o.TrustedProxies); err != nil {
		return nil, fmt.Errorf("web: trusted proxies: %w", err)
	}
	if o.Tracer != nil {
		s.engine.Use(s.trace)
	}
	s.engine.Use(s.measure, s.recovered, securityHeaders, s.guard)
	s.engine.NoRoute(s.noRoute)
	s.engine.NoMethod(s.noMethod)
	s.addRootRoutes()
	s.addPages()
	if err := s.addAPI(); err != nil {
		return nil, err
	}
	return s, nil
}

// handle adds a route and says who may call it.
func (s *server) handle(who access, method, path string, h gin.HandlerFunc) {
	s.routes[method+" "+path] = who
	s.engine.Handle(method, path, h)
}

// openIf is isOpen when a setting says so.
func openIf(setting bool) access {
	if setting {
		return isOpen
	}
	return needsToken
}

func (s *server) addRootRoutes() {
	s.handle(isOpen, http.MethodPost, "/predict", s.predict)
	s.handle(isOpen, http.MethodPost, "/flag/*key", s.flag)
	s.handle(isOpen, http.MethodPost, "/correct-label/*key", s.correct)
	s.handle(isOpen, http.MethodGet, "/version", s.version)
	s.handle(needsToken, http.MethodGet, "/image/*key", s.image)
	s.handle(openIf(s.o.OpenTriggers), http.MethodPost, "/pipeline/start", s.startRetrain)
	s.handle(openIf(s.o.OpenTriggers), http.MethodPost, "/trigger-training", s.startRetrain)
	s.handle(isOpen, http.MethodGet, "/-/healthy", s.healthy)
	s.handle(isOpen, http.MethodGet, "/-/ready", s.ready)
	s.handle(needsToken, http.MethodPost, "/-/reload", s.reload)
	s.handle(openIf(s.o.OpenMetrics), http.MethodGet, "/metrics", s.metricsHandler())
	s.handle(needsAlerts, http.MethodPost, "/api/v1/alerts", s.webhook)
	s.handle(needsToken, http.MethodGet, "/events", s.events)
	s.handle(needsToken, http.MethodGet, "/debug/pprof/*profile", profile)
}
