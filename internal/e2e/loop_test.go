//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"driftgate"
	"driftgate/internal/ledger"
)

// round is one way round the loop on a stack of its own.
type round struct {
	*stack
	crowd        *people
	before       string  // the champion that the drift makes bad
	quiet, floor float64 // accuracy before the drift, and the least since
	hops         hops
}

// begin trains the first champion, has people use it and sees that nothing
// fires.
func begin(t *testing.T, sh shape) *round {
	t.Helper()
	r := &round{stack: newStack(t, sh)}
	firstChampion(t, r.gateway)
	r.crowd = crowd(t, r.gateway, 50)
	eventually(t, 2*time.Minute, "the reference is fixed and Prometheus has it", func() bool {
		return len(query(t, r.prometheus, `driftgate_reference_accuracy_ratio{model="garments"}`)) > 0
	})
	time.Sleep(10 * time.Second)
	v, ok := r.figure(t)
	if r.state(t, below) != "" || !ok {
		t.Fatalf("%s is %q without drift, accuracy %g (%t)", below, r.state(t, below), v, ok)
	}
	r.quiet, r.floor = v, v
	t.Logf("quiet: accuracy %.3f after %d predictions", v, r.crowd.sent.Load())
	r.before = championOf(t, r.gateway)
	return r
}

// below is the alert that these tests are about.
const below = "ProductionAccuracyBelowReference"

// state is firing, pending or nothing.
func (s *stack) state(t *testing.T, alert string) string {
	t.Helper()
	found := ""
	for _, row := range query(t, s.prometheus, fmt.Sprintf(`ALERTS{alertname=%q}`, alert)) {
		if found = row.Metric["alertstate"]; found == "firing" {
			break
		}
	}
	return found
}

// figure is the accuracy that the rules look at.
func (r *round) figure(t *testing.T) (v float64, ok bool) {
	t.Helper()
	rows := query(t, r.prometheus, `model:driftgate_production_accuracy_ratio:day{model="garments"}`)
	if len(rows) == 0 {
		return 0, false
	}
	v, err := strconv.ParseFloat(rows[0].text(), 64)
	if err != nil {
		t.Fatal(err)
	}
	if r.floor = min(r.floor, v); v < 0 || v > 1 {
		t.Fatalf("accuracy %g", v)
	}
	return v, true
}

const pace = 50 * time.Millisecond // of looking for a hop

// drifts turns the garments by a quarter and waits for the alert to be in want.
func (r *round) drifts(t *testing.T, want string) {
	t.Helper()
	r.crowd.drifted.Store(true)
	r.hops.fires = look(t, pace, 2*time.Minute, "the alert is "+want, func() bool { return r.state(t, below) == want })
}

// retrains waits for the retraining that the alert starts.
func (r *round) retrains(t *testing.T) {
	t.Helper()
	r.hops.retrains = look(t, pace, time.Minute, "a retraining runs for the alert", func() bool { return latest(t, r.gateway, "retrain").ID != "" })
}

// closes follows the loop from the retraining to the end, and sees that there
// was one answer to one alert.
func (r *round) closes(t *testing.T) {
	t.Helper()
	var run ledger.Run
	r.hops.verdict = look(t, pace, 5*time.Minute, "the retraining ends", func() bool {
		r.figure(t)
		run = latest(t, r.gateway, "retrain")
		return run.State == ledger.RunDone || run.State == ledger.RunFailed
	})
	if run.Verdict != driftgate.Promote.String() {
		t.Fatalf("run %s: %s %s %s: %s", run.ID, run.State, run.Verdict, run.Error, run.Result)
	}
	r.hops.serves = look(t, pace, 30*time.Second, "the new champion serves", func() bool { return championOf(t, r.gateway) != r.before })
	served := time.Now()
	// The alert resolves when the old champion's figure is gone; that the new
	// one is better is another matter, and shows when it has labels of its own.
	// The old one is right about turned garments one time in eight; the new one,
	// which has learnt from some seconds of them, about six times in ten. Half of
	// what it was before lies between, however little of the fall was seen.
	var back float64
	look(t, pace, 2*time.Minute, "the alert resolves and the accuracy is back", func() bool {
		if r.hops.resolves == 0 && r.state(t, below) != "firing" {
			r.hops.resolves = time.Since(served)
		}
		v, ok := r.figure(t)
		if back = v; r.hops.recovers == 0 && ok && v > r.quiet/2 {
			r.hops.recovers = time.Since(served)
		}
		return r.hops.resolves > 0 && r.hops.recovers > 0
	})
	r.hops.load = load()
	t.Logf("accuracy %.3f quiet, %.3f at worst, %.3f back", r.quiet, r.floor, back)
	t.Logf("hops: %s", r.hops)
	r.once(t)
}

// triggers is what asked the gateway for a retraining, newest first.
func (s *stack) triggers(t *testing.T) []ledger.TriggerRecord {
	t.Helper()
	var out struct{ Triggers []ledger.TriggerRecord }
	s.gateway.call(t, "GET", "/api/v1/triggers", nil, &out)
	return out.Triggers
}

// once sees that one retraining was the only answer, and that the gateway hears
// of the resolution.
func (r *round) once(t *testing.T) {
	t.Helper()
	decisions := func() map[driftgate.TriggerDecision]int {
		n := map[driftgate.TriggerDecision]int{}
		for _, tr := range r.triggers(t) {
			if n[tr.Decision]++; tr.Source != driftgate.FromAlertmanager {
				t.Fatalf("%s asks for a retraining: %s", tr.Source, tr.Reason)
			}
		}
		return n
	}
	eventually(t, time.Minute, "the gateway hears that the alert is resolved", func() bool { return decisions()[driftgate.Closed] > 0 })
	var runs struct{ Runs []ledger.Run }
	r.gateway.call(t, "GET", "/api/v1/runs?pipeline=retrain", nil, &runs)
	if n := decisions(); n[driftgate.Accepted] != 1 || len(runs.Runs) != 1 {
		t.Errorf("one alert, one retraining: the decisions are %v, the runs %d", n, len(runs.Runs))
	}
}

func TestAlertRetrainsPromotesAndResolves(t *testing.T) {
	each(t, func(t *testing.T, last bool) hops {
		r := begin(t, shape{figures: "driftgate"})
		r.drifts(t, "firing")
		r.retrains(t)
		r.closes(t)
		r.crowd.end()
		if last {
			bothPathsAgree(t, r.stack)
		}
		return r.hops
	})
}

// TestStatsDAloneClosesTheLoop scrapes the exporter and nothing else: rules and
// Alertmanager see only what came by StatsD. A gateway that ends is noticed
// too, once the exporter forgets its figures.
func TestStatsDAloneClosesTheLoop(t *testing.T) {
	each(t, func(t *testing.T, last bool) hops {
		r := begin(t, shape{unscraped: true})
		if up := query(t, r.prometheus, "up"); len(up) != 1 || up[0].Metric["job"] != statsdJob {
			t.Fatalf("Prometheus scrapes %v, want the exporter only", up)
		}
		r.drifts(t, "firing")
		r.retrains(t)
		r.closes(t)
		r.crowd.end()
		if last {
			r.gateway.stop(syscall.SIGTERM)
			t.Logf("gateway stopped -> GatewayAbsent fires: %s", eventually(t, time.Minute, "GatewayAbsent fires", func() bool {
				return r.state(t, "GatewayAbsent") == "firing"
			}).Round(time.Second))
			eventually(t, time.Minute, "people are told", func() bool { return r.told.of("GatewayAbsent", "firing") > 0 })
		}
		return r.hops
	})
}

// bothPathsAgree compares every series of /metrics with the same one by StatsD,
// and wants nothing by StatsD that /metrics does not have, but what a former
// champion counted: the exporter keeps counters. Pipelines go on every second,
// so their series are left to TestEveryValueIsTheSameOnEveryWayOut.
func bothPathsAgree(t *testing.T, s *stack) {
	t.Helper()
	// With traffic stopped, the figures stand still once the last labels are in
	// and the short window is empty.
	time.Sleep(25 * time.Second)
	series := func(job string) map[string]float64 {
		return values(t, s.prometheus, fmt.Sprintf(`{__name__=~"driftgate_.+",__name__!~"driftgate_(pipeline|catalog)_.+",job="%s"}`, job))
	}
	var n int
	var diff []string
	for range 40 {
		direct, statsd := series("driftgate"), series(statsdJob)
		maps.DeleteFunc(statsd, func(key string, _ float64) bool {
			_, ok := direct[key]
			return !ok && counts(key) && strings.Contains(key, "model_version=")
		})
		if n, diff = len(direct), differences(direct, statsd); n > 0 && len(diff) == 0 {
			break
		}
		time.Sleep(time.Second)
	}
	if n < 100 {
		t.Errorf("only %d series were compared", n)
	}
	if len(diff) > 0 {
		t.Errorf("%d of %d series differ:\n%s", len(diff), n, strings.Join(diff, "\n"))
	}
	t.Logf("%d series came both ways with the same value", n)
}

func firstChampion(t *testing.T, g *gateway) {
	t.Helper()
	var set struct{ Dataset string }
	g.call(t, "POST", "/api/v1/ingest", map[string]any{"source": "synthetic", "seed": 1, "train": 6000, "test": 1000}, &set)
	var started struct{ Run string }
	g.call(t, "POST", "/api/v1/train", map[string]any{"dataset": set.Dataset, "promote": true}, &started)
	eventually(t, 3*time.Minute, "the first champion is trained", func() bool {
		var run ledger.Run
		g.call(t, "GET", "/api/v1/runs/"+started.Run, nil, &run)
		if run.State == "failed" {
			t.Fatalf("training failed: %s", run.Error)
		}
		return run.State == "done"
	})
	eventually(t, time.Minute, "the gateway is ready", func() bool { return answers(g.address + "/-/ready") })
}

func championOf(t *testing.T, g *gateway) string {
	t.Helper()
	var v struct {
		Version string `json:"model_version"`
	}
	g.call(t, "GET", "/version", nil, &v)
	return v.Version
}

func latest(t *testing.T, g *gateway, pipeline string) ledger.Run {
	t.Helper()
	var out struct{ Runs []ledger.Run }
	g.call(t, "GET", "/api/v1/runs?limit=1&pipeline="+pipeline, nil, &out)
	if len(out.Runs) == 0 {
		return ledger.Run{}
	}
	return out.Runs[0]
}
