//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// count is the sum of the rows of an instant query.
func count(t *testing.T, prometheus, expr string) float64 {
	t.Helper()
	sum := 0.0
	for _, row := range query(t, prometheus, expr) {
		v, err := strconv.ParseFloat(row.text(), 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	return sum
}

// TestAlertmanagerKilledBeforeAndAfterItDeliversStartsOneRetraining kills
// Alertmanager twice: while it still holds the notification back, so that it
// forgets an alert nobody has heard of, and right after the delivery, so that
// it forgets that it has delivered.
func TestAlertmanagerKilledBeforeAndAfterItDeliversStartsOneRetraining(t *testing.T) {
	// Held, so that a slow machine's window short of labels does not resolve it.
	r := begin(t, shape{figures: "driftgate", groupWait: 2 * time.Second, hold: 15 * time.Second})
	r.drifts(t, "firing")
	fired := time.Now()
	look(t, pace, 10*time.Second, "Alertmanager holds the alert", func() bool { _, ok := r.alertmanager.alerts(t)[below]; return ok })
	r.alertmanager.stop(syscall.SIGKILL)
	if run := latest(t, r.gateway, "retrain"); run.ID != "" {
		t.Fatalf("Alertmanager delivered before it was killed: run %s", run.ID)
	}
	time.Sleep(3 * time.Second) // longer than it would have waited
	if run := latest(t, r.gateway, "retrain"); run.ID != "" {
		t.Fatalf("a retraining without Alertmanager: run %s", run.ID)
	}
	r.alertmanager.run(t)
	r.retrains(t)
	r.hops.retrains = time.Since(fired)

	r.alertmanager.stop(syscall.SIGKILL)
	r.alertmanager.run(t)
	deliveries := func() (n int) {
		for _, tr := range r.triggers(t) {
			if !tr.Resolved {
				n += tr.Deliveries
			}
		}
		return n
	}
	took := look(t, pace, 30*time.Second, "Alertmanager delivers the same alert again", func() bool { return deliveries() > 1 })
	t.Logf("killed after the delivery -> delivered again: %s", took.Round(100*time.Millisecond))
	r.closes(t)
	r.crowd.end()
}

// TestAnAlertThatFiresWhileTheGatewayIsDownIsDeliveredOnce kills the gateway
// while the alert is pending. The figures come by StatsD, so the exporter keeps
// the last ones for a while and the alert fires with nobody at the webhook.
func TestAnAlertThatFiresWhileTheGatewayIsDownIsDeliveredOnce(t *testing.T) {
	r := begin(t, shape{figures: statsdJob, hold: 20 * time.Second})
	metrics := startPrometheus(t, fmt.Sprintf("- {job_name: alertmanager, static_configs: [{targets: [%q]}]}\n", strings.TrimPrefix(r.alertmanager.address, "http://")))
	r.drifts(t, "pending")
	r.crowd.outage.Store(true)
	r.gateway.stop(syscall.SIGKILL)
	down, absentBefore := time.Now(), r.told.of("GatewayAbsent", "firing") // it fires until Prometheus has scraped anything
	look(t, pace, 30*time.Second, "the alert fires without a gateway", func() bool { return r.state(t, below) == "firing" })
	r.hops.fires += time.Since(down)
	fired := time.Now()
	since := func() time.Duration { return time.Since(down).Round(100 * time.Millisecond) }
	t.Logf("%s after the kill: %s fires", since(), below)

	look(t, pace, 30*time.Second, "GatewayDown fires and people are told", func() bool { return r.told.of("GatewayDown", "firing") > 0 })
	t.Logf("%s: GatewayDown fires and people are told", since())
	look(t, pace, 30*time.Second, "Alertmanager tries the webhook in vain", func() bool {
		return count(t, metrics, `alertmanager_notification_requests_failed_total{integration="webhook"}`) > 0
	})
	t.Logf("%s: Alertmanager has tried the webhook in vain", since())
	// No gateway is left, so GatewayAbsent joins once the exporter forgets. It
	// keeps every alert on figures back; people hear of GatewayDown only.
	look(t, pace, 40*time.Second, "GatewayAbsent keeps the alert on accuracy back, GatewayDown keeps GatewayAbsent back", func() bool {
		all := r.alertmanager.alerts(t)
		down, absent, low := all["GatewayDown"], all["GatewayAbsent"], all[below]
		return down.Status.State == "active" && slices.Equal(absent.Status.InhibitedBy, []string{down.Fingerprint}) &&
			slices.Equal(low.Status.InhibitedBy, []string{absent.Fingerprint})
	})
	t.Logf("%s: GatewayDown keeps GatewayAbsent back, and that one %s", since(), below)

	r.gateway = serve(t, r.gateway.dir, r.config)
	t.Logf("%s: the gateway is back", since())
	r.retrains(t)
	t.Logf("%s: delivered, a retraining runs", since())
	r.hops.retrains = time.Since(fired)
	r.crowd.outage.Store(false)
	eventually(t, 30*time.Second, "GatewayDown resolves and people are told", func() bool {
		return r.state(t, "GatewayDown") == "" && r.told.of("GatewayDown", "resolved") > 0
	})
	r.closes(t)
	r.crowd.end()
	if n := r.told.of("GatewayAbsent", "firing") - absentBefore; n > 0 {
		t.Errorf("people were told %d times that there is no gateway, beside which one is down", n)
	}
}
