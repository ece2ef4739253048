// Package app wires driftgate: it opens the folder or the servers that the
// configuration names, connects every part with the ones below it, starts
// their loops, and ends them in order.
//
// [New] opens and listens, [App.Run] works until its context ends: then HTTP
// drains first, the spool after it, runs are left to resume, and what was
// opened last is closed first.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"driftgate"
	"driftgate/evaluator"
	"driftgate/internal/catalog"
	"driftgate/internal/config"
	"driftgate/internal/engine"
	"driftgate/internal/experiment"
	"driftgate/internal/labelling"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
	"driftgate/internal/pipeline"
	"driftgate/internal/registry"
	"driftgate/internal/serving"
	"driftgate/internal/telemetry"
	"driftgate/internal/trigger"
	"driftgate/internal/web"
	"driftgate/metrics"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Options of one process.
type Options struct {
	Config  config.Config
	Now     func() time.Time // event time: tags, windows, intervals; default time.Now
	Logger  *slog.Logger
	Version string // of this binary
	Exe     string // this binary, for the training child; default os.Executable
	Quiet   bool   // no schedules: a gateway that serves one command

	Load  func() (config.Config, error) // reads the configuration again; nil: it cannot be reloaded
	Level *slog.LevelVar                // of Logger; a reload sets it; nil: it stays
}

// App is a wired gateway.
type App struct {
	Options
	log      *slog.Logger
	lock     *Lock
	token    string
	fresh    bool
	listener net.Listener
	server   *http.Server
	closers  []func() error

	handler     *web.Handler
	connections *connections
	reloads     *reloading
	doors       doors
	stopBy      func() time.Time // end of the way down, which begins with the first call

	moving          sync.RWMutex // held to read by what moves objects, to write by what rebuilds the ledger
	metricsRegistry *prometheus.Registry
	tracer          *telemetry.Tracer // nil: no traces
	embedded        *embedded.Server
	storeOptions    objstore.Options
	store           *objstore.Store
	buckets         objstore.Buckets
	ledger          *ledger.Ledger
	registry        *registry.Registry
	serving         *serving.Service
	labelling       *labelling.Service
	metrics         *metrics.Metrics
	catalog         *catalog.Catalog
	evaluator       *evaluator.Evaluator
	inbox           *inbox
	pipelines       *pipeline.Pipelines
	scheduler       *pipeline.Scheduler
	engine          *engine.Engine
	experiments     *experiment.Store
}

// New opens everything and listens; Run must follow, or Close.
func New(ctx context.Context, o Options) (_ *App, err error) {
	if err := o.Config.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", driftgate.ErrInvalid, err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Exe == "" {
		if o.Exe, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("app: find this binary: %w", err)
		}
	}
	reg := prometheus.NewRegistry()
	reloads := newReloading(o.Config, reg)
	// The embedded store changes the working directory.
	if o.Config.Dir, err = filepath.Abs(o.Config.Dir); err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	if o.Config.HTTP.WebConfig != "" {
		if o.Config.HTTP.WebConfig, err = filepath.Abs(o.Config.HTTP.WebConfig); err != nil {
			return nil, fmt.Errorf("app: %w", err)
		}
	}
	if err := absoluteKeys(&o.Config.Models); err != nil {
		return nil, err
	}
	a := &App{Options: o, log: o.Logger.With("component", "app"), metricsRegistry: reg, reloads: reloads}
	a.stopBy = sync.OnceValue(func() time.Time { return time.Now().Add(a.Config.Shutdown) })
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	for _, open := range []func(context.Context) error{a.openTracer, a.openDoors, a.own, a.openStore, a.openLedger, a.openServices, a.openEngine, a.listen} {
		if err := open(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// onClose keeps what must be closed, last in first out.
func (a *App) onClose(f func() error) { a.closers = append(a.closers, f) }

// Close ends what New opened.
func (a *App) Close() error {
	var errs []error
	for len(a.closers) > 0 {
		last := len(a.closers) - 1
		errs = append(errs, a.closers[last]())
		a.closers = a.closers[:last]
	}
	return errors.Join(errs...)
}

// Address is where the gateway listens, http://host:port or https://host:port.
func (a *App) Address() string {
	scheme := "http://"
	if a.doors.now.Load().tls != nil {
		scheme = "https://"
	}
	return scheme + a.listener.Addr().String()
}

// Token opens everything that is not open to all.
func (a *App) Token() string { return a.token }

// SignIn is a link that opens a page with the token; what is behind # never
// reaches the server.
func (a *App) SignIn(page string) string {
	return a.Address() + "/login?next=" + url.QueryEscape(page) + "#token=" + a.token
}

// Mark keeps an event for the charts: what this process knows and the gateway
// cannot, such as the demo's drift.
func (a *App) Mark(ctx context.Context, kind, text string) error {
	return a.ledger.AddEvent(ctx, ledger.Event{At: a.Now().UTC(), Kind: kind, Model: a.Config.Model,
		ModelVersion: a.serving.Version().Short(), Text: text})
}

// FreshToken reports whether the token was made by this start.
func (a *App) FreshToken() bool { return a.fresh }

// own takes the folder and its token.
func (a *App) own(context.Context) (err error) {
	if a.lock, err = AcquireLock(a.Config.Dir); err != nil {
		return err
	}
	a.onClose(a.lock.Release)
	if a.token = a.Config.HTTP.Token; a.token == "" {
		a.token, a.fresh, err = loadToken(a.Config.Dir)
	}
	return err
}

// openStore reaches the S3 server, or starts the embedded one.
func (a *App) openStore(ctx context.Context) error {
	c := a.Config.S3
	a.storeOptions = objstore.Options{Endpoint: c.Endpoint, AccessKey: c.AccessKey, SecretKey: c.SecretKey, Region: c.Region, PublicEndpoint: c.PublicEndpoint}
	if c.Endpoint == "" {
		server, err := embedded.Start(ctx, embedded.Options{Dir: filepath.Join(a.Config.Dir, "objects"), Logger: a.Logger})
		if err != nil {
			return err
		}
		a.embedded = server
		a.onClose(server.Close)
		a.storeOptions.Endpoint = server.Endpoint()
		a.storeOptions.AccessKey, a.storeOptions.SecretKey = server.Credentials()
	}
	store, err := objstore.Open(a.storeOptions)
	if err != nil {
		return err
	}
	a.store, a.buckets = store, objstore.DefaultBuckets(c.BucketPrefix)
	a.onClose(func() error { a.store.Close(); return nil })
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := a.store.EnsureBuckets(ctx, a.buckets.All()...); err != nil {
		return fmt.Errorf("app: object store at %s: %w", a.storeOptions.Endpoint, err)
	}
	return nil
}

func (a *App) openLedger(ctx context.Context) (err error) {
	dsn := cmp.Or(a.Config.Ledger.DSN, filepath.Join(a.Config.Dir, "ledger.db"))
	a.ledger, err = ledger.Open(ctx, dsn, ledger.WithThreshold(a.Config.Curate.Threshold))
	if err != nil {
		return err
	}
	a.onClose(a.ledger.Close)
	return nil
}

// openServices builds floor 3 on store and ledger.
func (a *App) openServices(context.Context) (err error) {
	a.metricsRegistry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	buildInfo(a.metricsRegistry, a.Version)
	if err := a.openRegistry(); err != nil {
		return err
	}
	if a.serving, err = serving.New(a.servingOptions(), a.store, a.ledger, a.buckets); err != nil {
		return err
	}
	if err := errors.Join(a.labellingOptions().Validate(), a.metricsOptions().Validate(), a.evaluatorOptions().Validate()); err != nil {
		return fmt.Errorf("app: %w", err)
	}
	a.labelling = labelling.New(a.labellingOptions(), a.store, a.ledger, a.buckets)
	a.metrics = metrics.New(a.metricsOptions(), a.ledger)
	a.metricsRegistry.MustRegister(a.metrics)
	a.catalog = catalog.New(a.store, a.ledger, a.buckets, a.catalogOptions())
	a.evaluator = evaluator.New(a.evaluatorSources(), a.evaluatorOptions())
	a.inbox = &inbox{Inbox: trigger.New(a.ledger, a.triggerOptions()), wake: func() { a.scheduler.Wake() }}
	return nil
}

func (a *App) openEngine(ctx context.Context) (err error) {
	a.experiments = experiment.NewStore(a.ledger)
	if a.pipelines, err = a.newPipelines(); err != nil {
		return err
	}
	a.engine, err = engine.Open(ctx, a.engineOptions(), a.pipelines.Funcs(), a.pipelines.Steps(), a.ledger)
	if err != nil {
		return err
	}
	// The engine takes up to half as long again to give up.
	a.onClose(func() error { return a.engine.Close(max(time.Until(a.stopBy())*2/3, time.Second)) })
	a.openExperiments(ctx)
	a.scheduler, err = a.newScheduler()
	return err
}

// listen binds the address, so that it is known before Run.
func (a *App) listen(context.Context) (err error) {
	if a.handler, err = web.New(a.webDeps(), a.webOptions()); err != nil {
		return err
	}
	c := a.Config.HTTP
	if a.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return fmt.Errorf("app: listen on %s: %w", c.Listen, err)
	}
	a.connections = bounded(a.listener, c, a.metricsRegistry)
	a.onClose(func() error {
		if err := a.listener.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	a.server = &http.Server{
		Handler:           a.doors.headers(a.handler),
		ReadHeaderTimeout: c.HeaderTimeout,
		ReadTimeout:       c.ReadTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100},
		ErrorLog:          slog.NewLogLogger(a.Logger.Handler(), slog.LevelDebug),
	}
	if a.doors.now.Load().tls != nil {
		a.server.TLSConfig = a.doors.tls()
	}
	a.server.RegisterOnShutdown(a.handler.EndStreams)
	return nil
}

func buildInfo(reg prometheus.Registerer, version string) {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "driftgate_build_info",
		Help: "1, labelled with the version of this binary, the commit it was built from and the Go release.",
	}, []string{"version", "revision", "goversion"})
	revision := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	g.WithLabelValues(version, revision, runtime.Version()).Set(1)
	reg.MustRegister(g)
}
