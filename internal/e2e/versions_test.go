//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
	"driftgate/internal/rollout"
)

// watchful is a gateway on MinIO whose rollout is looked at every two seconds,
// with slots of four seconds that wait twenty for their labels.
const watchful = `model: garments
http: {listen: "127.0.0.1:0", rate_per_ip: 0}
s3: {endpoint: "%s", access_key: "%s", secret_key: "%s"}
curate: {every: 4s, random: 60}
collect: {every: 1s, undo: 0s}
reconcile: {every: 0s}
serving: {follow: 500ms}
metrics: {windows: [15s, 24h], stride: 1s, min_labels: 30, refresh: 1s}
alarm: {years: 1e300, slot: 4s, label_grace: 5s, reference_labels: 150}
train: {replay: 6000, lookback: 1h, epochs: 4}
gate: {min_pairs: 60, window: 60s, wait: 1m}
rollout: {slot: 4s, label_grace: 20s, every: 2s, watch: 10m}
`

// real is Fashion-MNIST as published; CI has it or fetches nothing.
func real(t *testing.T) dataset.Set {
	t.Helper()
	dir := os.Getenv("DRIFTGATE_TEST_DATA")
	if dir == "" {
		t.Skip("DRIFTGATE_TEST_DATA is not set: real Fashion-MNIST is not at hand")
	}
	set, err := dataset.ReadFashionMNIST(filepath.Join(dir, "fashion-mnist"))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// wearers upload the real test images, and label what they are asked.
func wearers(t *testing.T, g *gateway, set dataset.Set, perSecond int) *people {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := &people{g: g, truth: map[string]int{}, stop: stop}
	for i := range 2 {
		rng := rand.New(rand.NewPCG(11, uint64(i)))
		p.done.Go(func() {
			tick := time.NewTicker(2 * time.Second / time.Duration(perSecond))
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					p.wear(t, set, rng)
				}
			}
		})
		p.done.Go(func() { p.label(ctx, t, fmt.Sprintf("wearer-%d", i)) })
	}
	t.Cleanup(p.end)
	return p
}

func (p *people) wear(t *testing.T, set dataset.Set, rng *rand.Rand) {
	n := rng.IntN(set.Test.Len())
	px := slices.Clone(set.Image(set.Test, n))
	if p.drifted.Load() { // a quarter turn
		turned := make([]byte, len(px))
		for i := range turned {
			turned[i] = px[(27-i%28)*28+i/28]
		}
		px = turned
	}
	px[27] = byte(rng.IntN(3)) // no two uploads of a picture are the same file
	png, err := dataset.EncodePNG(px, 28, 28, 1)
	if err != nil {
		t.Error(err)
		return
	}
	var answer struct{ Key string }
	if !p.ask(t, "POST", "/predict", map[string]string{"image": base64.StdEncoding.EncodeToString(png)}, &answer) {
		return
	}
	p.mu.Lock()
	p.truth[path.Base(answer.Key)] = int(set.Test.Labels[n])
	p.mu.Unlock()
	p.sent.Add(1)
}

// trained trains on a stored dataset and returns the version.
func trained(t *testing.T, g *gateway, ref dataset.Ref, promote bool) dg.ModelRef {
	t.Helper()
	var started struct{ Run string }
	g.call(t, "POST", "/api/v1/train", map[string]any{"dataset": ref, "promote": promote, "options": map[string]any{"epochs": 4}}, &started)
	run := ended(t, g, started.Run, 5*time.Minute)
	var result struct{ Model dg.ModelRef }
	if err := json.Unmarshal(run.Result, &result); err != nil || run.State != "done" {
		t.Fatalf("run %s: %s %s %v", run.ID, run.State, run.Error, err)
	}
	return result.Model
}

func ended(t *testing.T, g *gateway, id string, within time.Duration) (run ledger.Run) {
	t.Helper()
	eventually(t, within, "run "+id+" ends", func() bool {
		run = ledger.Run{}
		g.call(t, "GET", "/api/v1/runs/"+id, nil, &run)
		return run.Finished()
	})
	return run
}

// harmed stores the set with nine of ten trousers called dresses.
func harmed(t *testing.T, store *objstore.Store, bucket string, set dataset.Set) dataset.Ref {
	t.Helper()
	const trouser, dress = 1, 3
	set.Name = "harmed"
	set.Train.Labels = slices.Clone(set.Train.Labels)
	for i, label := range set.Train.Labels {
		if label == trouser && i%10 != 0 {
			set.Train.Labels[i] = dress
		}
	}
	ref, err := dataset.Save(t.Context(), store.Bucket(bucket), set)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// Three versions on real Fashion-MNIST: the first, one retrained on drifted
// production, and one harmed on one class, which nobody is told of.
func TestAHarmedVersionIsNamedRejectedAndTakenBack(t *testing.T) {
	set := real(t)
	o, _ := minioServer(t)
	g := serve(t, t.TempDir(), fmt.Sprintf(watchful, o.Endpoint, o.AccessKey, o.SecretKey))
	store, err := objstore.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	datasets := objstore.DefaultBuckets("").Datasets
	clean, err := dataset.Save(t.Context(), store.Bucket(datasets), set)
	if err != nil {
		t.Fatal(err)
	}
	base := trained(t, g, clean, true)
	eventually(t, time.Minute, "the gateway is ready", func() bool { return answers(g.address + "/-/ready") })
	crowd := wearers(t, g, set, 40)
	bad := trained(t, g, harmed(t, store, datasets, set), false)
	t.Logf("base %s, harmed %s", base.Short(), bad.Short())

	defer func() {
		if t.Failed() {
			_, status := g.try(t, "GET", "/api/v1/rollout", nil)
			run := latest(t, g, "rollout")
			t.Logf("rollout: %s\nits newest run: %s %s %s %s", status, run.ID, run.State, run.Error, run.Result)
		}
	}()
	rejectedByName(t, g, base, bad)
	endedAsCanary(t, g, base, bad)
	takenBack(t, g, base, bad)

	crowd.drifted.Store(true)
	time.Sleep(45 * time.Second)
	retrainedOnDrift(t, g, base)
}

// rejectedByName: the gate rejects the harmed version and names the class.
func rejectedByName(t *testing.T, g *gateway, base, bad dg.ModelRef) {
	t.Helper()
	var c dg.Comparison
	took := eventually(t, 2*time.Minute, "the gate has enough labels", func() bool {
		c = dg.Comparison{}
		g.call(t, "GET", "/api/v1/compare?a="+base.Short()+"&b="+bad.Short(), nil, &c)
		return c.Verdict == dg.Reject && strings.Contains(strings.Join(c.Reasons, " "), "Trouser")
	})
	t.Logf("rejected after %s of labels, on %d pairs: %s", took.Round(time.Second), c.Pairs, strings.Join(c.Reasons, "; "))
}

// endedAsCanary: a person forces it onto half of the traffic; the watch ends it.
func endedAsCanary(t *testing.T, g *gateway, base, bad dg.ModelRef) {
	t.Helper()
	g.call(t, "POST", "/api/v1/expose", map[string]any{"ref": bad.Short(), "stage": "canary", "share": .5, "reason": "forced by the test"}, nil)
	followed := eventually(t, 30*time.Second, "the canary answers", func() bool { return answeredBy(t, g, bad) > 20 })
	var s rollout.Status
	took := eventually(t, 3*time.Minute, "the canary is ended", func() bool {
		var now rollout.Status
		if g.call(t, "GET", "/api/v1/rollout", nil, &now); now.Exposure.Challenger == "" {
			return true
		}
		s = now
		return false
	})
	t.Logf("canary on half of the traffic: answers after %s, ended after %s more, on %d labelled samples: %+.1f points of error [%+.1f, %+.1f], evidence %.0f",
		followed.Round(100*time.Millisecond), took.Round(100*time.Millisecond), s.Evidence.Pairs, 100*s.Evidence.Difference, 100*s.Evidence.Lower, 100*s.Evidence.Upper, s.Evidence.Worse)
	if v := championOf(t, g); v != base.Short() {
		t.Errorf("champion %s, want %s as before", v, base.Short())
	}
	said(t, g, "exposure_end", "does harm")
}

// takenBack: a person promotes it all the same; the rollback is automatic.
func takenBack(t *testing.T, g *gateway, base, bad dg.ModelRef) {
	t.Helper()
	g.call(t, "POST", "/api/v1/promote", map[string]any{"ref": bad.Short(), "reason": "forced by the test"}, nil)
	eventually(t, 30*time.Second, "it serves", func() bool { return championOf(t, g) == bad.Short() })
	took := eventually(t, 3*time.Minute, "the champion before serves again", func() bool { return championOf(t, g) == base.Short() })
	t.Logf("a harmful champion was taken back %s after it began to serve", took.Round(100*time.Millisecond))
	said(t, g, "rollback", "does harm")
}

// retrainedOnDrift: a challenger that learned from drifted production replaces
// the first, and stays.
func retrainedOnDrift(t *testing.T, g *gateway, base dg.ModelRef) {
	t.Helper()
	var started struct{ Run string }
	g.call(t, "POST", "/api/v1/runs", map[string]any{"pipeline": "retrain", "reason": "drift"}, &started)
	run := ended(t, g, started.Run, 6*time.Minute)
	if run.Verdict != "promote" {
		t.Fatalf("run %s: %s %s %s: %s", run.ID, run.State, run.Verdict, run.Error, run.Result)
	}
	eventually(t, 30*time.Second, "it serves", func() bool { return championOf(t, g) != base.Short() })
	next := championOf(t, g)
	var s rollout.Status
	eventually(t, 3*time.Minute, "the watch has looked at it", func() bool {
		s = rollout.Status{}
		g.call(t, "GET", "/api/v1/rollout", nil, &s)
		return s.Evidence.Pairs >= 200
	})
	if v := championOf(t, g); v != next {
		t.Errorf("a better champion was taken back: %s serves", v)
	}
	t.Logf("retrained on drift: %s, watched on %d samples: %+.1f points of error [%+.1f, %+.1f], evidence of harm %.2g, of good %.2g", next, s.Evidence.Pairs,
		100*s.Evidence.Difference, 100*s.Evidence.Lower, 100*s.Evidence.Upper, s.Evidence.Worse, s.Evidence.Better)
}

// answeredBy counts the predictions of a version.
func answeredBy(t *testing.T, g *gateway, ref dg.ModelRef) (n float64) {
	t.Helper()
	_, body := g.try(t, "GET", "/metrics", nil)
	for line := range strings.SplitSeq(string(body), "\n") {
		if strings.HasPrefix(line, "driftgate_predictions_total{") && strings.Contains(line, ref.Short()) {
			var v float64
			if _, err := fmt.Sscan(line[strings.LastIndex(line, " ")+1:], &v); err == nil {
				n += v
			}
		}
	}
	return n
}

// said wants a move of the kind on record, made by the rollout, for this reason.
func said(t *testing.T, g *gateway, kind, why string) {
	t.Helper()
	var out struct {
		Moves []struct{ Kind, Who, Why string }
	}
	g.call(t, "GET", "/api/v1/moves", nil, &out)
	for _, m := range out.Moves {
		if m.Kind == kind && m.Who == "rollout" && strings.Contains(m.Why, why) {
			return
		}
	}
	t.Errorf("no %s by the rollout for %q on record: %+v", kind, why, out.Moves)
}
