package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"driftgate"
	"driftgate/internal/config"
	"driftgate/internal/objstore"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

// How a check ended.
const (
	CheckOK   = "ok"
	CheckWarn = "warn" // works, but should be looked at
	CheckFail = "fail"
)

// CheckResult is what `driftgate check` says of one thing.
type CheckResult struct {
	Name   string `json:"name"`
	Status string `json:"status"` // ok, warn or fail
	Detail string `json:"detail"` // what was found
	Fix    string `json:"fix,omitempty"`
}

// CheckReport is all of it; OK says that nothing failed.
type CheckReport struct {
	OK     bool          `json:"ok"`
	Checks []CheckResult `json:"checks"`

	// ConfigLoadedAt is when the gateway that was asked last read its
	// configuration, as it exports it (Unix seconds, to the nanosecond): by it,
	// its series are told from those of other gateways. 0 when none runs.
	ConfigLoadedAt float64 `json:"config_loaded_at,omitempty"`

	Windows []string `json:"windows"` // that the gateway exports, as the label window has them
}

// add looks at more and reports it behind the rest.
func (r *CheckReport) add(ctx context.Context, looks ...look) {
	more := examine(ctx, looks)
	r.OK = r.OK && more.OK
	r.Checks = append(r.Checks, more.Checks...)
}

// CheckOptions are what Check looks at beside the deployment's own parts.
type CheckOptions struct {
	Prometheus string // base URL of the Prometheus that should scrape this gateway, http://[user:password@]host:port[/path]; empty: not asked
}

// finding is what one look found; fix says what to do when it is not in order.
type finding struct{ status, detail, fix string }

func pass(format string, args ...any) finding {
	return finding{status: CheckOK, detail: fmt.Sprintf(format, args...)}
}

func warn(fix, format string, args ...any) finding {
	return finding{CheckWarn, fmt.Sprintf(format, args...), fix}
}

func broken(err error, fix string) finding { return finding{CheckFail, err.Error(), fix} }

type look struct {
	name string
	at   func(context.Context) finding
}

// checkTimeout bounds one look, so that a server that never answers is one line
// of the report and not the end of it.
const checkTimeout = 15 * time.Second

func examine(ctx context.Context, looks []look) CheckReport {
	report := CheckReport{OK: true}
	for _, l := range looks {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		f := l.at(ctx)
		cancel()
		report.OK = report.OK && f.status != CheckFail
		report.Checks = append(report.Checks, CheckResult{l.name, f.status, f.detail, f.fix})
	}
	return report
}

// Check looks at the deployment that c describes. The gateway that owns the
// folder is asked when one runs; else this process looks itself, starts nothing
// but an embedded store, makes no buckets on a configured one and migrates no
// ledger. Prometheus is asked by this process. The error says only why nothing
// could be looked at.
func Check(ctx context.Context, c config.Config, o CheckOptions) (report CheckReport, err error) {
	server, err := newPrometheus(o.Prometheus)
	if err != nil {
		return report, err
	}
	if err = absoluteKeys(&c.Models); err != nil {
		return CheckReport{}, err
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return report, fmt.Errorf("app: %w", err)
	}
	if report, err = checkGateway(ctx, c); err != nil {
		return report, err
	}
	if server == nil {
		return report, nil
	}
	server.gateway, server.windows = report.ConfigLoadedAt, report.Windows
	report.add(ctx, look{"prometheus", server.checkAnswers})
	if report.Checks[len(report.Checks)-1].Status != CheckFail {
		report.add(ctx, look{"scrape", server.checkScrape}, look{"loaded rules", server.checkRules}, look{"alertmanager", server.checkAlertmanager})
	}
	return report, nil
}

// checkGateway asks the gateway that owns the folder, or looks without one.
func checkGateway(ctx context.Context, c config.Config) (report CheckReport, err error) {
	a := &App{Options: Options{Config: c, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}, metricsRegistry: prometheus.NewRegistry()}
	if err := a.own(ctx); errors.Is(err, driftgate.ErrBusy) {
		client, err := Connect(ctx, c)
		if err != nil {
			return report, err
		}
		if err := client.Get(ctx, "/api/v1/check", &report); err != nil {
			return report, errors.Join(err, client.Close())
		}
		if c.HTTP.AlertsToken != "" {
			report.add(ctx, look{"alerts token", client.as(c.HTTP.AlertsToken).checkAlertsToken})
		}
		return report, client.Close()
	} else if err != nil {
		return CheckReport{Windows: a.windowNames(), Checks: []CheckResult{{"folder", CheckFail, err.Error(), "give this user the right to write there, or choose another --dir"}}}, nil
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return a.checkCold(ctx), nil
}

// checkCold looks without a running gateway.
func (a *App) checkCold(ctx context.Context) CheckReport {
	report := examine(ctx, []look{{"folder", a.checkFolder}, {"object store", a.checkReach}, {"clock", a.checkClock}})
	if a.store != nil && report.OK {
		report.add(ctx, look{"buckets", a.checkBuckets}, look{"champion", a.checkColdChampion})
	}
	report.add(ctx, look{"ledger", a.checkColdLedger}, look{"spool", a.checkSpool}, look{"token", a.checkToken},
		look{"statsd", a.checkStatsD}, look{"traces", a.checkTraces}, look{"rules", a.checkWindows})
	report.Windows = a.windowNames()
	return report
}

// check looks at the deployment from inside a running gateway.
func (a *App) check(ctx context.Context) (any, error) {
	report := examine(ctx, []look{
		{"folder", a.checkFolder}, {"object store", a.checkReach}, {"clock", a.checkClock}, {"buckets", a.checkBuckets},
		{"champion", a.checkChampion}, {"ledger", a.checkLedger}, {"spool", a.checkSpool}, {"token", a.checkToken},
		{"webhook", a.checkWebhook}, {"statsd", a.checkStatsD}, {"traces", a.checkTraces}, {"rules", a.checkWindows},
	})
	var err error
	report.Windows = a.windowNames()
	report.ConfigLoadedAt, err = value(a.reloads.at)
	return report, err
}

// checkReach asks the object store for its buckets, opening it where this
// process has not yet.
func (a *App) checkReach(ctx context.Context) finding {
	if a.store == nil {
		if a.Config.S3.Endpoint == "" {
			if err := a.openStore(ctx); err != nil {
				return broken(err, "look at DIR/objects: it needs a file system with extended attributes, and room")
			}
		} else if err := a.reachStore(); err != nil {
			return broken(err, "mend s3.endpoint, s3.access_key and s3.secret_key")
		}
	}
	err := a.store.Ready(ctx)
	switch {
	case errors.Is(err, driftgate.ErrUnauthorized):
		return broken(err, "s3.access_key and s3.secret_key must be known to that server, with the right to list buckets; its clock must be within 15 minutes of ours")
	case err != nil:
		return broken(err, "is the server up, and s3.endpoint right (scheme, host, port)?")
	case a.embedded != nil:
		return pass("embedded, on %s", a.storeOptions.Endpoint)
	}
	return pass("%s", a.storeOptions.Endpoint)
}

// reachStore makes a client of the configured server and sends nothing.
func (a *App) reachStore() (err error) {
	c := a.Config.S3
	a.storeOptions = objstore.Options{Endpoint: c.Endpoint, AccessKey: c.AccessKey, SecretKey: c.SecretKey, Region: c.Region}
	if a.store, err = objstore.Open(a.storeOptions); err != nil {
		return err
	}
	a.buckets = objstore.DefaultBuckets(c.BucketPrefix)
	a.onClose(func() error { a.store.Close(); return nil })
	return nil
}

// checkBuckets writes, tags, reads and deletes one object in every bucket.
func (a *App) checkBuckets(ctx context.Context) finding {
	missing, err := a.store.Missing(ctx, a.buckets.All()...)
	if err != nil {
		return broken(err, "the access key needs s3:ListBucket on the buckets")
	}
	if len(missing) > 0 {
		return warn("driftgate serve makes them, if its key may create buckets; else make them before", "not there: %s", strings.Join(missing, ", "))
	}
	key := ".driftgate-check/" + uuid.NewString()
	var errs []error
	for _, bucket := range a.buckets.All() {
		if err := a.checkRights(ctx, bucket, key); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", bucket, err))
		}
	}
	if len(errs) > 0 {
		return broken(errors.Join(errs...), "the access key needs s3:PutObject, PutObjectTagging, GetObject, GetObjectTagging and DeleteObject there")
	}
	return pass("%d: put, tag, get and delete work", len(a.buckets.All()))
}

func (a *App) checkRights(ctx context.Context, bucket, key string) error {
	const body = "driftgate check"
	_, err := a.store.Put(ctx, bucket, key, []byte(body), objstore.PutOptions{Tags: map[string]string{"check": "yes"}})
	if err != nil {
		return err
	}
	got, _, err := a.store.Get(ctx, bucket, key)
	if err == nil && string(got) != body {
		err = fmt.Errorf("another object came back: %d bytes, want %d", len(got), len(body))
	}
	tags, tagsErr := a.store.Tags(ctx, bucket, key)
	if tagsErr == nil && tags["check"] != "yes" {
		tagsErr = fmt.Errorf("tags were not kept: %v", tags)
	}
	return errors.Join(err, tagsErr, a.store.Delete(ctx, bucket, key))
}

// maxSkew is how far our clock and the object store's may be apart: S3 refuses
// signatures beyond 15 minutes, and windows are cut by our clock.
const maxSkew = 5 * time.Second

// checkClock reads the Date of an unsigned answer, which even a server tells
// that refuses our signatures because of the clock.
func (a *App) checkClock(ctx context.Context) finding {
	if a.storeOptions.Endpoint == "" {
		return warn("see the object store's line", "not compared: no object store")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.storeOptions.Endpoint, nil)
	if err != nil {
		return broken(err, "mend s3.endpoint")
	}
	before := time.Now()
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		return warn("see the object store's line", "not compared: %v", err)
	}
	defer resp.Body.Close()
	return judgeDate(resp.Header, before, "the object store's", "S3 refuses signatures beyond 15 minutes, and windows are cut by our clock")
}

// judgeDate compares the Date of an answer to a question asked at before; why
// says what that clock matters for.
func judgeDate(answer http.Header, before time.Time, whose, why string) finding {
	date, err := http.ParseTime(answer.Get("Date"))
	if err != nil {
		return warn("compare it by hand", "not compared: %s answer has no Date", whose)
	}
	skew := skewOf(date, before, time.Now())
	if skew.Abs() > maxSkew {
		return broken(fmt.Errorf("%s clock is %s away from ours", whose, skew.Round(time.Second)), "synchronise both clocks (NTP): "+why)
	}
	return pass("within %s of %s", max(time.Second, skew.Abs().Round(time.Second)), whose)
}

// skewOf compares a Date, which is cut to whole seconds, with the span of our
// clock in which it was made: 0 when it can have been made then.
func skewOf(date, before, after time.Time) time.Duration {
	switch earliest := before.Add(-time.Second); {
	case date.Before(earliest):
		return date.Sub(earliest)
	case date.After(after):
		return date.Sub(after)
	}
	return 0
}

func (a *App) checkColdChampion(ctx context.Context) finding {
	if err := a.openRegistry(); err != nil {
		return broken(err, "mend models.signing_key and models.trusted_keys: the gateway does not start like this")
	}
	return a.checkChampion(ctx)
}

// checkChampion loads what the champion record names, digest and self-test
// included, and compares it with what this gateway serves.
func (a *App) checkChampion(ctx context.Context) finding {
	c, err := a.registry.Champion(ctx)
	switch {
	case errors.Is(err, driftgate.ErrNotFound):
		return warn("driftgate ingest, then driftgate train --dataset NAME --promote", "none yet: nothing can be predicted")
	case err != nil:
		return broken(err, "the champion record is damaged or not ours: see docs/backup.md")
	}
	if _, err := a.registry.Load(ctx, c.Version); err != nil {
		return broken(err, "driftgate rollback --reason \"artifact damaged\", or restore the models bucket (docs/backup.md)")
	}
	if a.serving != nil && a.serving.Version() != c.Version {
		return broken(fmt.Errorf("the record names %s, this gateway serves %q", c.Version.Short(), a.serving.Version().Short()),
			"its log says why under \"champion not followed\"")
	}
	return pass("%s, generation %d", c.Version.Short(), c.Generation)
}
