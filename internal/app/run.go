package app

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"driftgate"
	"driftgate/internal/estimate"
	"driftgate/internal/network"
	"driftgate/internal/telemetry"
	"driftgate/metrics"

	"github.com/oklog/run"
)

// Run serves until ctx ends or a part fails, then drains and closes.
func (a *App) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, a.Close()) }()
	door := a.doors.now.Load()
	file := RunFile{PID: os.Getpid(), Address: a.Address(), Token: a.token, CertificateFile: door.path, Certificate: door.inline}
	if err := writeRunFile(a.Config.Dir, file); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeRunFile(a.Config.Dir)) }()

	// The loops outlive ctx until HTTP has drained.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	var g run.Group
	g.Add(run.ContextHandler(ctx))
	// The spool drains while its uploads still run: g interrupts in this order.
	g.Add(a.serve, func(error) {
		a.drain()
		a.drainSpool(ctx)
	})
	for _, loop := range a.loops() {
		g.Add(func() error { return ignoreCancel(loop(work)) }, func(error) { stopWork() })
	}
	err = g.Run()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

func ignoreCancel(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (a *App) serve() error {
	serve := func() error { return a.server.Serve(a.connections) }
	if a.server.TLSConfig != nil {
		serve = func() error { return a.server.ServeTLS(a.connections, "", "") }
	}
	if err := serve(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// drain ends HTTP: requests under way finish, new ones are refused. A request
// that does not end leaves half of the time to the spool and the runs.
func (a *App) drain() {
	ctx, cancel := context.WithDeadline(context.Background(), a.stopBy().Add(-a.Config.Shutdown/2))
	defer cancel()
	if err := a.server.Shutdown(ctx); err != nil {
		a.log.Warn("requests cut off", "error", err)
		_ = a.server.Close() // after Shutdown gave up there is nothing gentler
	}
}

// drainSpool uploads what still waits, within a bound; what is left stays on
// the spool for the next start.
func (a *App) drainSpool(ctx context.Context) {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), a.stopBy().Add(-a.Config.Shutdown/4))
	defer cancel()
	if err := a.serving.Drain(ctx); err != nil {
		items, bytes := a.serving.Spooled()
		a.log.Warn("predictions stay on the spool until the next start", "items", items, "bytes", bytes, "error", err)
	}
}

// loops are what works beside HTTP.
func (a *App) loops() []func(context.Context) error {
	all := []func(context.Context) error{a.serving.Run, a.follow, a.followExposure, a.watch, a.scheduler.Run}
	if a.Config.StatsD.Address != "" && !a.Quiet {
		all = append(all, a.statsd)
	}
	return all
}

// follow swaps in what the champion record names.
func (a *App) follow(ctx context.Context) error {
	return a.registry.Follow(ctx, a.Config.Serving.Follow, func(c *network.Classifier, champion driftgate.Champion) {
		a.serving.Swap(c, champion.Version)
		a.metrics.SetChampion(champion, c.Manifest().Classes)
	})
}

// followExposure tries on production what the exposure record names.
func (a *App) followExposure(ctx context.Context) error {
	return a.registry.FollowExposure(ctx, a.Config.Serving.Follow, a.serving.SwapChallenger)
}

// watch keeps the snapshot fresh and moves the alarm.
func (a *App) watch(ctx context.Context) error {
	tick := time.NewTicker(a.Config.Metrics.Refresh)
	defer tick.Stop()
	var due []metrics.AlarmEvent
	for {
		traced, span := a.tracer.Start(ctx, "refresh figures")
		err := a.look(traced, &due)
		if span.Done(err); err != nil && ctx.Err() == nil {
			a.log.ErrorContext(traced, "figures not refreshed", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// look moves the alarm, passes its events on and makes a snapshot. Events that
// could not be passed on stay due, in order.
func (a *App) look(ctx context.Context, due *[]metrics.AlarmEvent) error {
	advancing, span := telemetry.Start(ctx, "advance alarm")
	events, err := a.metrics.Advance(advancing)
	span.Done(err)
	for *due = append(*due, events...); len(*due) > 0 && err == nil; {
		if err = a.raise(ctx, (*due)[0]); err == nil {
			*due = (*due)[1:]
		}
	}
	refreshing, span := telemetry.Start(ctx, "read figures")
	_, refreshErr := a.metrics.Refresh(refreshing)
	span.Done(refreshErr)
	return errors.Join(err, refreshErr)
}

// raise turns a step of the alarm into a trigger. The alarm hands its last step
// out again after a restart, and the inbox knows it by its key.
func (a *App) raise(ctx context.Context, e metrics.AlarmEvent) error {
	if e.State != estimate.Firing && e.State != estimate.Resolved {
		return nil
	}
	_, err := a.inbox.Submit(ctx, driftgate.Trigger{
		Source:    driftgate.FromAlarm,
		Model:     a.Config.Model,
		Reason:    alarmReason(e),
		DedupeKey: alarmKey(e),
		At:        a.Now(),
		Since:     e.Since,
		Resolved:  e.State == estimate.Resolved,
	})
	return err
}
