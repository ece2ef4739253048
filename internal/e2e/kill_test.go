//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
	"driftgate/internal/objstore/embedded"
)

// mortal is a gateway that is killed and started again on the same folder.
type mortal struct {
	t    *testing.T
	dir  string
	conf string
	mu   sync.Mutex
	g    *gateway
}

func (m *mortal) now() *gateway {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.g
}

// die kills the gateway with SIGKILL and starts it again.
func (m *mortal) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.g.stop(syscall.SIGKILL)
	m.g = serve(m.t, m.dir, m.conf)
}

const mortalConfig = `model: garments
http: {listen: "127.0.0.1:0", rate_per_ip: 0}
curate: {every: 1s, random: 20}
collect: {every: 1s, undo: 0s}
reconcile: {every: 0s}
metrics: {refresh: 500ms}
train: {replay: 3000, lookback: 1h, epochs: 30, patience: 30}
gate: {min_pairs: 30, window: 1h, wait: 1s}
`

func TestKilledAtAnyMomentNothingAcknowledgedIsLostAndNothingDoneTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gateway")
	m := &mortal{t: t, dir: dir, conf: mortalConfig}
	m.g = serve(t, dir, m.conf)
	firstChampion(t, m.g)

	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex
	served, labelled := map[string]int{}, map[string]string{} // acknowledged: key -> class, id -> label
	for i := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(11, uint64(i)))
			for ctx.Err() == nil {
				class := rng.IntN(10)
				png, _ := dataset.EncodePNG(dataset.Garment(class, dataset.Drift{}, rng), 28, 28, 1)
				status, body := m.now().try(t, "POST", "/predict", map[string]string{"image": base64.StdEncoding.EncodeToString(png)})
				var answer struct{ Key string }
				if status == 200 && json.Unmarshal(body, &answer) == nil {
					mu.Lock()
					served[answer.Key] = class
					mu.Unlock()
				} else {
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			var got struct{ Tasks []struct{ ID, Key string } }
			if status, body := m.now().try(t, "GET", "/api/v1/labels/tasks?annotator=e2e&n=20", nil); status != 200 || json.Unmarshal(body, &got) != nil {
				time.Sleep(100 * time.Millisecond)
				continue
			}
			for _, task := range got.Tasks {
				mu.Lock()
				class, ok := served[task.Key]
				mu.Unlock()
				if !ok {
					continue // its answer to the upload was lost in a crash
				}
				label := driftgate.FashionMNIST[class]
				if status, _ := m.now().try(t, "POST", "/api/v1/labels?annotator=e2e", map[string]string{"id": task.ID, "label": label}); status < 300 {
					mu.Lock()
					labelled[task.ID] = label
					mu.Unlock()
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
	})

	rng := rand.New(rand.NewPCG(3, 3))
	var accepted []string
	for range 8 {
		time.Sleep(time.Duration(1500+rng.IntN(3000)) * time.Millisecond)
		// A retraining is asked for before each kill, so that kills hit all its
		// steps; while one runs the answer is busy.
		var started struct{ Run string }
		if status, body := m.now().try(t, "POST", "/api/v1/runs", map[string]string{"reason": "kill test"}); status < 300 && json.Unmarshal(body, &started) == nil {
			accepted = append(accepted, started.Run)
		}
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
		m.die()
	}
	time.Sleep(3 * time.Second)
	stop()
	wg.Wait()
	g := m.now()
	if len(accepted) == 0 {
		t.Fatal("no retraining was accepted: the test would prove nothing about training")
	}
	for _, id := range accepted {
		eventually(t, 3*time.Minute, "run "+id+" ends", func() bool {
			var run ledger.Run
			g.call(t, "GET", "/api/v1/runs/"+id, nil, &run)
			if run.State == ledger.RunFailed {
				t.Fatalf("run %s failed: %s", id, run.Error)
			}
			return run.State == ledger.RunDone
		})
	}
	promotions := map[string]int{}
	var models struct{ History []driftgate.Champion }
	g.call(t, "GET", "/api/v1/models", nil, &models)
	for _, c := range models.History {
		promotions[c.RunID]++
	}
	for id, n := range promotions {
		if n > 1 {
			t.Errorf("run %s promoted %d times", id, n)
		}
	}
	eventually(t, 30*time.Second, "spool and answers are worked off", func() bool {
		var st struct {
			Spool  struct{ Items int }
			Labels ledger.LabelProgress
		}
		g.call(t, "GET", "/api/v1/status", nil, &st)
		return st.Spool.Items == 0 && st.Labels.Answered == 0
	})
	g.stop(syscall.SIGTERM)
	t.Logf("8 kills; acknowledged: %d predictions, %d labels, %d retrainings", len(served), len(labelled), len(accepted))
	auditBuckets(t, dir, served, labelled)
}

// auditBuckets reads the folder's objects with nothing of the gateway running.
func auditBuckets(t *testing.T, dir string, served map[string]int, labelled map[string]string) {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Options{Dir: filepath.Join(dir, "objects")})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	access, secret := server.Credentials()
	store, err := objstore.Open(objstore.Options{Endpoint: server.Endpoint(), AccessKey: access, SecretKey: secret})
	if err != nil {
		t.Fatal(err)
	}
	buckets := objstore.DefaultBuckets("")
	list := func(bucket string) map[string][]string { // id -> keys
		ids := map[string][]string{}
		for o, err := range store.List(t.Context(), bucket, "", true) {
			if err != nil {
				t.Fatal(err)
			}
			if _, err := driftgate.ParseSample(o.Key, o.Tags); err != nil {
				t.Errorf("%s/%s: %v", bucket, o.Key, err)
			}
			ids[path.Base(o.Key)] = append(ids[path.Base(o.Key)], o.Key)
		}
		return ids
	}
	production, clean, noisy, waiting := list(buckets.Production), list(buckets.Clean), list(buckets.Noisy), list(buckets.Waiting)
	for key := range served {
		if !slices.Equal(production[path.Base(key)], []string{key}) {
			t.Errorf("served %s is in production as %v", key, production[path.Base(key)])
		}
	}
	for id, label := range labelled {
		want := []string{driftgate.SampleKey(driftgate.FashionMNIST.Index(label), id)}
		if !slices.Equal(clean[id], want) || !slices.Equal(noisy[id], want) || waiting[id] != nil {
			t.Errorf("labelled %s %q: clean %v, noisy %v, waiting %v", id, label, clean[id], noisy[id], waiting[id])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(noisy)) {
		if len(noisy[id]) != 1 || waiting[id] != nil {
			t.Errorf("%s is in noisy as %v and in label-wait as %v", id, noisy[id], waiting[id])
		}
	}
	t.Logf("production %d, clean %d, noisy %d, label-wait %d objects", len(production), len(clean), len(noisy), len(waiting))
}
