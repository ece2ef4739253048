package demo

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"driftgate"
	"driftgate/internal/app"
)

// Crowd is the demo's users and annotators at the wall's speed, for a gateway
// of one's own that has no real ones yet.
type Crowd struct {
	Client *app.Client
	Notes  string        // file that remembers what each picture showed, so that a later crowd can answer for it
	Rate   float64       // pictures a second
	For    time.Duration // how long they upload
	Turned bool          // pictures arrive on their side: the demo's drift
	Seed   uint64        // of the pictures; the same seed draws the same ones
	Out    io.Writer
}

const (
	maxRate     = 40               // pictures a second; by default a gateway takes 50 from one address
	think       = time.Second      // from taking tasks to answering them
	linger      = 30 * time.Second // how long people stay for what is asked about their last pictures
	silent      = 8 * think        // without a task in between, they have answered all they can
	maxNotes    = 1 << 20          // lines of Notes
	notesHeader = "id"
)

// Validate reports every fault at once; the error is [driftgate.ErrInvalid].
func (c Crowd) Validate() error {
	var errs []error
	if !(c.Rate > 0 && c.Rate <= maxRate) {
		errs = append(errs, fmt.Errorf("rate %g: want over 0, at most %d pictures a second", c.Rate, maxRate))
	}
	if c.For <= 0 {
		errs = append(errs, fmt.Errorf("for %s: want over 0s", c.For))
	}
	if len(errs) > 0 {
		return fmt.Errorf("demo: people: %w: %w", errors.Join(errs...), driftgate.ErrInvalid)
	}
	return nil
}

// Run uploads and labels until For is over and what was asked about the
// pictures is answered, or ctx ends, which is no error.
func (c Crowd) Run(ctx context.Context) error {
	if err := errors.Join(c.Validate(), c.known(ctx)); err != nil {
		return err
	}
	w := &world{classes: driftgate.FashionMNIST, truth: map[string]int{}}
	w.drifted.Store(c.Turned)
	end, err := w.remember(c.Notes)
	if err != nil {
		return err
	}
	clock := NewClock(time.Now())
	clock.Run(1)
	u := &users{client: c.Client, world: w, clock: clock, perHour: 3600 * c.Rate, flags: flags, fixes: fixes, rng: rand.New(rand.NewPCG(c.Seed, 2))}
	a := &annotators{client: c.Client, world: w, think: think, wrong: wrong, seed: c.Seed, skip: true}

	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	labelled := make(chan error, 1)
	go func() {
		err := a.Run(work)
		stop(err)
		labelled <- err
	}()
	if err = c.upload(work, u, a); err == nil {
		err = c.rest(work, a, time.Now())
	}
	stop(nil)
	if ctx.Err() != nil { // asked to end: what was under way need not come to its end
		err = nil
	}
	err = errors.Join(err, <-labelled, end())
	fmt.Fprintf(c.Out, "%d pictures sent, %d labels given; the model was right about %.1f%% of the pictures\n",
		u.served.Load(), a.given.Load(), 100*float64(u.right.Load())/float64(max(1, u.served.Load())))
	return err
}

// known demands a gateway whose model knows garments.
func (c Crowd) known(ctx context.Context) error {
	var v struct {
		Classes driftgate.Classes `json:"classes"`
	}
	if err := c.Client.Get(ctx, "/version", &v); err != nil {
		return fmt.Errorf("demo: people: %w", err)
	}
	if len(v.Classes) == 0 {
		return fmt.Errorf("demo: people: no model serves yet: driftgate ingest synthetic, then driftgate train --dataset garments --promote: %w", driftgate.ErrNotFound)
	}
	if !slices.Equal(v.Classes, driftgate.FashionMNIST) {
		return fmt.Errorf("demo: people: they draw garments, and the gateway's model knows %q: %w", []string(v.Classes), driftgate.ErrInvalid)
	}
	return nil
}

// upload sends pictures until For is over, and says every few seconds how far
// it is.
func (c Crowd) upload(ctx context.Context, u *users, a *annotators) error {
	ctx, cancel := context.WithTimeout(ctx, c.For)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx, &garments{rand.New(rand.NewPCG(c.Seed, 1<<32))}) }()
	begun, tick := time.Now(), time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			fmt.Fprintf(c.Out, "%4.0fs  %d pictures sent, %d labels given\n", time.Since(begun).Seconds(), u.served.Load(), a.given.Load())
		}
	}
}

// rest lets the annotators go on until what came last has been picked from and
// their answers are collected, or they have had nothing to answer for a while:
// what is left then is others' to label.
func (c Crowd) rest(ctx context.Context, a *annotators, last time.Time) error {
	given, since, deadline := a.given.Load(), time.Now(), time.Now().Add(linger)
	for ctx.Err() == nil {
		until, err := curatedUntil(ctx, c.Client)
		var left struct{ Waiting, Answered int }
		if err == nil {
			err = c.Client.Get(ctx, "/api/v1/labels/progress", &left)
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("demo: people: %w", err)
		}
		if n := a.given.Load(); n != given {
			given, since = n, time.Now()
		}
		curated := until.After(last)
		if curated && (left.Waiting+left.Answered == 0 || time.Since(since) >= silent) {
			return nil
		}
		if time.Now().After(deadline) {
			if !curated {
				fmt.Fprintln(c.Out, "the last pictures have not been picked from yet (curate.every): driftgate curate --last 30m does it now; the next people answer")
			}
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(glance):
		}
	}
	return nil
}

// remember reads what earlier crowds noted and notes from now on; end closes
// the file.
func (w *world) remember(name string) (end func() error, err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("demo: people: no folder %s: %w", filepath.Dir(name), driftgate.ErrNotFound)
	} else if err != nil {
		return nil, fmt.Errorf("demo: people: open notes: %w", err)
	}
	in := csv.NewReader(f)
	in.FieldsPerRecord = 2
	for n := 0; ; n++ {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil || n > maxNotes {
			f.Close()
			return nil, fmt.Errorf("demo: people: read %s: want at most %d lines of id,label, delete the file if it is broken: %w", name, maxNotes, errors.Join(err, driftgate.ErrInvalid))
		}
		if class := w.classes.Index(row[1]); class >= 0 {
			w.truth[row[0]] = class
		}
	}
	w.notes = csv.NewWriter(f)
	if len(w.truth) == 0 {
		_ = w.notes.Write([]string{notesHeader, "label"}) // kept until Flush, whose error is looked at
	}
	return func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.notes.Flush()
		return errors.Join(w.notes.Error(), f.Close())
	}, nil
}

// Picture draws one garment of the class as a PNG, for a first upload by hand.
func Picture(class string, turned bool, seed uint64) ([]byte, error) {
	i := driftgate.FashionMNIST.Index(class)
	if i < 0 {
		return nil, fmt.Errorf("demo: picture of %q: want one of %q: %w", class, []string(driftgate.FashionMNIST), driftgate.ErrInvalid)
	}
	return draw(i, turned, rand.New(rand.NewPCG(seed, 1<<34)))
}
