package objstore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeyLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l keyLocks
		ctx := t.Context()
		unlock, err := l.lock(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		other, err := l.lock(ctx, "b")
		if err != nil {
			t.Fatal(err)
		}
		other()

		impatient, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := l.lock(impatient, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting on a held key: error %v, want %v", err, context.DeadlineExceeded)
		}
		got := make(chan func())
		go func() {
			u, err := l.lock(ctx, "a")
			if err != nil {
				t.Error(err)
			}
			got <- u
		}()
		synctest.Wait()
		select {
		case <-got:
			t.Error("a key was locked twice")
		default:
		}
		unlock()
		(<-got)()
		if len(l.held) != 0 {
			t.Errorf("%d locks are left, and nobody holds one", len(l.held))
		}
	})
}
