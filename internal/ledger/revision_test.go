package ledger

import (
	"sync"
	"testing"
	"time"

	dg "driftgate"
)

func TestRevisionsDifferOnceSomethingIsCommitted(t *testing.T) {
	ctx := t.Context()
	dsn := database.dsn(t)
	a, b := get[*Ledger](t)(Open(ctx, dsn)), get[*Ledger](t)(Open(ctx, dsn))
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	before := get[Revision](t)(a.Revision(ctx))
	if before == (Revision{}) {
		t.Error("a revision equals the zero value")
	}
	same := 0
	for range 20 {
		if get[Revision](t)(a.Revision(ctx)) == before {
			same++
		}
		get[[]dg.StratumCount](t)(a.Counts(ctx, "", dg.Interval{Start: t0, End: t0.Add(time.Hour)})) // readers change nothing
	}
	if same < 15 {
		t.Errorf("%d of 20 revisions are the same although nothing changed", same)
	}
	for i, write := range []func() error{
		func() error { return a.Captured(ctx, sample("a.png", t0, .9)) },
		func() error { return b.Captured(ctx, sample("b.png", t0, .9)) },
		func() error { return a.SetSetting(ctx, "x", "y") },
		func() error { return b.Settle(ctx) },
	} {
		before := get[Revision](t)(a.Revision(ctx))
		must(t, write())
		if get[Revision](t)(a.Revision(ctx)) == before {
			t.Errorf("write %d left the revision as it was", i)
		}
	}
}

// A revision read before the data must change when the data may have.
func TestARevisionNeverHidesAWrite(t *testing.T) {
	ctx := t.Context()
	l := open(t)
	iv := dg.Interval{Start: t0, End: t0.Add(time.Hour)}
	var writer sync.WaitGroup
	done := make(chan struct{})
	writer.Go(func() {
		defer close(done)
		for i := range 40 {
			if err := l.Captured(ctx, sample(string(rune('A'+i))+".png", t0, .9)); err != nil {
				t.Error(err)
			}
		}
	})
	var last Revision
	kept := 0
	count := func() (n int) {
		for _, c := range get[[]dg.StratumCount](t)(l.Counts(ctx, "", iv)) {
			n += c.Predictions
		}
		return n
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if r := get[Revision](t)(l.Revision(ctx)); r != last {
			last, kept = r, count()
		}
	}
	writer.Wait()
	if kept != 40 || count() != 40 {
		t.Errorf("who reads only when the revision changes has seen %d of %d", kept, count())
	}
}
