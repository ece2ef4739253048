package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"driftgate"
	"driftgate/internal/config"
	"driftgate/internal/web"

	"github.com/prometheus/client_golang/prometheus"
)

// ReloadReport is what a reload did, by configuration key.
type ReloadReport struct {
	Changed      []string `json:"changed"`       // in effect now
	NeedsRestart []string `json:"needs_restart"` // differ from what runs, and stay so until a restart
}

// reloading keeps what holds now.
type reloading struct {
	mu      sync.Mutex
	current config.Config // as loaded, with the live settings of the last reload
	good    prometheus.Gauge
	at      prometheus.Gauge
}

func newReloading(c config.Config, reg prometheus.Registerer) *reloading {
	r := &reloading{
		current: c,
		good: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "driftgate_config_last_reload_successful", Help: "1 when the configuration was read without a mistake the last time, 0 when not.",
		}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "driftgate_config_last_reload_success_timestamp_seconds", Help: "When the configuration was last read without a mistake.",
		}),
	}
	reg.MustRegister(r.good, r.at)
	r.good.Set(1)
	r.at.SetToCurrentTime()
	return r
}

// Reload reads the configuration again and takes over what can change while
// the gateway runs, the contents of http.web_config too; the report names the
// rest. On an error nothing has
// changed: [driftgate.ErrInvalid] for a mistake in the configuration.
func (a *App) Reload(ctx context.Context) (ReloadReport, error) {
	a.reloads.mu.Lock()
	defer a.reloads.mu.Unlock()
	report, err := a.reload()
	if err != nil {
		a.reloads.good.Set(0)
		a.log.Error("configuration not reloaded: all stays as it was", "error", err)
		return report, fmt.Errorf("app: reload: %w", err)
	}
	a.reloads.good.Set(1)
	a.reloads.at.SetToCurrentTime()
	level := slog.LevelInfo
	if len(report.NeedsRestart) > 0 {
		level = slog.LevelWarn
	}
	a.log.Log(ctx, level, "configuration reloaded", "changed", report.Changed, "needs_restart", report.NeedsRestart)
	return report, nil
}

func (a *App) reload() (ReloadReport, error) {
	report := ReloadReport{Changed: []string{}, NeedsRestart: []string{}}
	if a.Options.Load == nil {
		return report, fmt.Errorf("this gateway was started without a configuration to read again: %w", driftgate.ErrRefused)
	}
	next, err := a.Options.Load()
	if err != nil {
		return report, err
	}
	if err := next.Validate(); err != nil {
		return report, errors.Join(driftgate.ErrInvalid, err)
	}
	for _, key := range config.Diff(a.reloads.current, next) {
		if config.Live(key) {
			report.Changed = append(report.Changed, key)
		} else {
			report.NeedsRestart = append(report.NeedsRestart, key)
		}
	}
	door, err := a.reopen()
	if err != nil {
		return report, err
	}
	// What can fail comes first.
	if err := a.handler.Apply(liveWeb(next)); err != nil {
		return report, errors.Join(driftgate.ErrInvalid, err)
	}
	a.doors.now.Store(door)
	a.connections.setBounds(next.HTTP.MaxConnections, next.HTTP.MaxConnectionsPerIP)
	a.inbox.SetLimits(next.Trigger.CoolDown, next.Trigger.BudgetPerDay)
	if a.Level != nil {
		var level slog.Level
		_ = level.UnmarshalText([]byte(next.Log.Level)) // validated with the configuration
		a.Level.Set(level)
	}
	config.TakeLive(&a.reloads.current, next)
	return report, nil
}

// liveWeb are the web's settings that a reload changes.
func liveWeb(c config.Config) web.Live {
	rate := c.HTTP.RatePerIP
	if rate == 0 {
		rate = -1 // no limit
	}
	return web.Live{AlertsToken: c.HTTP.AlertsToken, RatePerSecond: rate, RateBurst: int(4 * c.HTTP.RatePerIP)}
}

// ready says why predictions would be refused, though a model is loaded.
func (a *App) ready(context.Context) error {
	items, bytes := a.serving.Spooled()
	if items >= a.Config.Serving.SpoolItems || bytes >= a.Config.Serving.SpoolBytes {
		return fmt.Errorf("app: the spool is full, %d predictions, %d bytes: is the object store reachable? %w", items, bytes, driftgate.ErrFull)
	}
	return nil
}
