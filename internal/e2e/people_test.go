//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
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
		p.done.Go(func() { p.label(ctx, t) })
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
		p.g.call(t, "POST", "/predict", map[string]string{"image": base64.StdEncoding.EncodeToString(png)}, &answer)
		p.mu.Lock()
		p.truth[path.Base(answer.Key)] = class
		p.mu.Unlock()
		p.sent.Add(1)
	}
}

func (p *people) label(ctx context.Context, t *testing.T) {
	for ctx.Err() == nil {
		var got struct {
			Tasks []struct{ ID string }
		}
		p.g.call(t, "GET", "/api/v1/labels/tasks?annotator=e2e&n=20", nil, &got)
		for _, task := range got.Tasks {
			p.mu.Lock()
			class, ok := p.truth[task.ID]
			p.mu.Unlock()
			if ok {
				p.g.call(t, "POST", "/api/v1/labels?annotator=e2e", map[string]string{"id": task.ID, "label": driftgate.FashionMNIST[class]}, nil)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}
