//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"driftgate"
	"driftgate/internal/dataset"
)

// people upload garments and label what they are asked, at the wall's speed.
type people struct {
	g       *gateway
	drifted atomic.Bool
	outage  atomic.Bool // the gateway may not answer: who gets none asks again
	sent    atomic.Int64
	mu      sync.Mutex
	truth   map[string]int
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// crowd starts uploads at the given rate a second, and two annotators.
func crowd(t *testing.T, g *gateway, perSecond int) *people {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := &people{g: g, truth: map[string]int{}, stop: stop}
	for i := range 2 {
		rng := rand.New(rand.NewPCG(7, uint64(i)))
		p.done.Go(func() { p.upload(ctx, t, rng, time.Second*2/time.Duration(perSecond)) })
		p.done.Go(func() { p.label(ctx, t, fmt.Sprintf("e2e-%d", i)) })
	}
	t.Cleanup(p.end)
	return p
}

func (p *people) end() {
	p.stop()
	p.done.Wait()
}

func (p *people) upload(ctx context.Context, t *testing.T, rng *rand.Rand, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		class := rng.IntN(len(driftgate.FashionMNIST))
		var drift dataset.Drift
		if p.drifted.Load() {
			drift = dataset.Drift{Rotation: 90}
		}
		png, err := dataset.EncodePNG(dataset.Garment(class, drift, rng), 28, 28, 1)
		if err != nil {
			t.Error(err)
			return
		}
		var answer struct{ Key string }
		if !p.ask(t, "POST", "/predict", map[string]string{"image": base64.StdEncoding.EncodeToString(png)}, &answer) {
			continue
		}
		p.mu.Lock()
		p.truth[path.Base(answer.Key)] = class
		p.mu.Unlock()
		p.sent.Add(1)
	}
}

// ask makes one request, which must go well but in an outage.
func (p *people) ask(t *testing.T, method, path string, in, out any) bool {
	status, body := p.g.try(t, method, path, in)
	if status < 200 || status > 299 {
		if !p.outage.Load() {
			t.Errorf("%s %s: %d %s", method, path, status, body)
		}
		return false
	}
	if out == nil {
		return true
	}
	err := json.Unmarshal(body, out)
	if err != nil {
		t.Errorf("%s %s: %v in %s", method, path, err, body)
	}
	return err == nil
}

// label is one annotator. Each has a name of its own: two with the same name are
// given the same tasks, and the slower one's answer may come when the faster
// one's is being collected.
func (p *people) label(ctx context.Context, t *testing.T, name string) {
	for ctx.Err() == nil {
		var got struct {
			Tasks []struct{ ID string }
		}
		p.ask(t, "GET", "/api/v1/labels/tasks?n=20&annotator="+name, nil, &got)
		for _, task := range got.Tasks {
			p.mu.Lock()
			class, ok := p.truth[task.ID]
			p.mu.Unlock()
			if ok {
				p.ask(t, "POST", "/api/v1/labels?annotator="+name, map[string]string{"id": task.ID, "label": driftgate.FashionMNIST[class]}, nil)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}
