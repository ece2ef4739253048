package demo

import (
	"context"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"driftgate"
	"driftgate/internal/app"

	"golang.org/x/sync/errgroup"
)

// world is what the demo knows and the gateway does not: the truth of every
// image that was sent.
type world struct {
	classes driftgate.Classes
	drifted atomic.Bool
	mu      sync.Mutex
	truth   map[string]int // sample id -> true class
	notes   *csv.Writer    // gets what is learnt; nil is none
}

func (w *world) learn(id string, class int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.truth[id] = class
	if w.notes != nil {
		_ = w.notes.Write([]string{id, w.classes[class]}) // the error comes with Flush
	}
}

func (w *world) class(id string) (int, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.truth[id]
	return c, ok
}

// users upload photos through POST /predict, flag some wrong answers and
// correct a few.
type users struct {
	client  *app.Client
	world   *world
	clock   *Clock
	rng     *rand.Rand
	perHour float64 // uploads an hour of demo time
	flags   float64 // share of wrong answers that are flagged
	fixes   float64 // share of wrong answers that are corrected
	served  atomic.Int64
	right   atomic.Int64 // of those, answered rightly
	busy    atomic.Int64 // answers 503 or 429: tried again later
}

const (
	workers    = 4                // uploads that may be under way at once
	lastUpload = 30 * time.Second // how long one may take
)

// Run uploads until ctx ends or the source is exhausted.
func (u *users) Run(ctx context.Context, src source) error {
	type upload struct {
		png   []byte
		class int
		act   float64
	}
	queue := make(chan upload)
	errs := make(chan error, workers+1)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for up := range queue {
				if err := u.upload(ctx, up.png, up.class, up.act); err != nil && ctx.Err() == nil {
					errs <- err
					return
				}
			}
		})
	}
	defer wg.Wait()
	defer close(queue)
	begun, sent := u.clock.Now(), 0
	for {
		due := int(u.clock.Now().Sub(begun).Hours() * u.perHour)
		for ; sent < due; sent++ {
			png, class, err := src.Draw(u.world.drifted.Load())
			if err != nil {
				return err
			}
			select {
			case queue <- upload{png, class, u.rng.Float64()}:
			case err := <-errs:
				return err
			case <-ctx.Done():
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-errs:
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (u *users) upload(ctx context.Context, png []byte, class int, act float64) error {
	var p struct {
		Key        string `json:"key"`
		Prediction string `json:"prediction"`
	}
	in := map[string]string{"image": base64.StdEncoding.EncodeToString(png)}
	for {
		// An upload that is under way when the doors close is waited for: its
		// picture is there, and somebody has to know what it shows.
		began, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastUpload)
		err := u.client.Post(began, "/predict", in, &p)
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, driftgate.ErrFull) {
			return fmt.Errorf("demo: upload: %w", err)
		}
		u.busy.Add(1)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	u.world.learn(path.Base(p.Key), class)
	u.served.Add(1)
	truth := u.world.classes[class]
	switch {
	case p.Prediction == truth:
		u.right.Add(1)
	case act < u.flags:
		return u.client.Post(ctx, "/flag/"+p.Key, nil, nil)
	case act < u.flags+u.fixes:
		return u.client.Post(ctx, "/correct-label/"+p.Key, map[string]string{"corrected_class": truth}, nil)
	}
	return nil
}

// annotators take label tasks, think for a while and answer; now and then they
// are wrong, as people are.
type annotators struct {
	client *app.Client
	world  *world
	seed   uint64
	think  time.Duration // from taking tasks to answering them, by the wall
	wrong  float64       // share of answers that are wrong
	skip   bool          // give back tasks about pictures of others
	given  atomic.Int64
}

type task struct {
	ID string `json:"id"`
}

// Run labels until ctx ends or one of them fails.
func (a *annotators) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range people {
		rng := rand.New(rand.NewPCG(a.seed, 1000+uint64(i)))
		g.Go(func() error { return a.work(ctx, fmt.Sprintf("annotator-%d", i+1), rng) })
	}
	return g.Wait()
}

func (a *annotators) work(ctx context.Context, name string, rng *rand.Rand) error {
	for {
		var got struct {
			Tasks []task `json:"tasks"`
		}
		err := a.client.Get(ctx, "/api/v1/labels/tasks?n=20&annotator="+name, &got)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("demo: take label tasks: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(a.think): // by the wall: people go on while the clock is held
		}
		for _, t := range got.Tasks {
			if err := a.answer(ctx, name, t.ID, rng); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

func (a *annotators) answer(ctx context.Context, name, id string, rng *rand.Rand) error {
	class, ok := a.world.class(id)
	switch {
	case !ok && a.skip:
		if err := a.client.Post(ctx, "/api/v1/labels/skip?annotator="+name, map[string]string{"id": id}, nil); err != nil {
			return fmt.Errorf("demo: skip label task %s: %w", id, err)
		}
		return nil
	case !ok:
		return nil // its upload has not come back yet: the lease runs out and it is asked again
	}
	n := len(a.world.classes)
	if rng.Float64() < a.wrong {
		class = (class + 1 + rng.IntN(n-1)) % n
	}
	in := map[string]string{"id": id, "label": a.world.classes[class]}
	if err := a.client.Post(ctx, "/api/v1/labels?annotator="+name, in, nil); err != nil {
		return fmt.Errorf("demo: answer label task %s: %w", id, err)
	}
	a.given.Add(1)
	return nil
}
