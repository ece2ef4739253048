package labelling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
)

// desk is a service with n waiting tasks, 00 the oldest, and no object store.
func desk(t testing.TB, l *ledger.Ledger, n int) *Service {
	t.Helper()
	var ds []ledger.Decision
	var placed []string
	for i := range n {
		id := fmt.Sprintf("%02d", i)
		s := dg.Sample{Key: "class_01/" + id, PredictedClass: "Trouser", Confidence: 0.5, Timestamp: noon.Add(time.Duration(i) * time.Second)}
		if err := l.Captured(context.Background(), s); err != nil {
			t.Fatal(err)
		}
		ds = append(ds, ledger.Decision{ID: id, Stratum: dg.LowConfidence, SamplingFraction: 1, Interval: noon, Selected: true})
		placed = append(placed, id)
	}
	if err := errors.Join(l.Decide(context.Background(), ds), l.Placed(context.Background(), placed...)); err != nil {
		t.Fatal(err)
	}
	return New(Options{Classes: func() dg.Classes { return dg.FashionMNIST }}, nil, l, objstore.DefaultBuckets(""))
}

func leased(t testing.TB, s *Service, annotator string, n int) string {
	t.Helper()
	tasks, err := s.Lease(context.Background(), annotator, n)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, task := range tasks {
		got = append(got, task.ID)
	}
	return strings.Join(got, " ")
}

func TestLeasedTasksAreOneAnnotatorsUntilTheLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := ledger.Open(context.Background(), filepath.Join(t.TempDir(), "ledger.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s := desk(t, l, 5)
		for _, step := range []struct {
			claim     string
			after     time.Duration
			annotator string
			n         int
			want      string
		}{
			{"the oldest come first", 0, "ann", 2, "00 01"},
			{"nobody else gets them", 0, "bob", 2, "02 03"},
			{"a reload shows the same", 0, "ann", 2, "00 01"},
			{"what is left", 0, "cid", 9, "04"},
			{"nothing is left", 0, "dan", 9, ""},
			{"still leased", 10*time.Minute - 1, "dan", 9, ""},
			{"after ten minutes they are free", 1, "dan", 9, "00 01 02 03 04"},
			{"and now dan's", 0, "ann", 9, ""},
		} {
			time.Sleep(step.after)
			if got := leased(t, s, step.annotator, step.n); got != step.want {
				t.Errorf("%s: got %q, want %q", step.claim, got, step.want)
			}
		}
	})
}

func TestNoTwoAnnotatorsEverHoldOneTask(t *testing.T) {
	s := desk(t, openLedger(t), 40)
	var mu sync.Mutex
	holder := map[string]string{}
	var wg sync.WaitGroup
	for i := range 8 {
		name := fmt.Sprint("annotator ", i)
		wg.Go(func() {
			for range 2 {
				tasks, err := s.Lease(context.Background(), name, 4)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, task := range tasks {
					if h := holder[task.ID]; h != "" && h != name {
						t.Errorf("%s is %s's and %s's", task.ID, h, name)
					}
					holder[task.ID] = name
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(holder) != 32 {
		t.Errorf("%d tasks were handed out, want 8 x 4", len(holder))
	}
}

func TestAnswersAreRefusedWithTheirReason(t *testing.T) {
	s := desk(t, openLedger(t), 3)
	if got := leased(t, s, "bob", 1); got != "00" {
		t.Fatal(got)
	}
	for _, tt := range []struct {
		name, annotator, id, label string
		want                       error
	}{
		{"no class", "ann", "01", "Banana", dg.ErrInvalid},
		{"no label", "ann", "01", "", dg.ErrInvalid},
		{"no annotator", "", "01", "Bag", dg.ErrInvalid},
		{"annotator's name too long", strings.Repeat("x", 65), "01", "Bag", dg.ErrInvalid},
		{"unknown sample", "ann", "99", "Bag", dg.ErrNotFound},
		{"another's lease", "ann", "00", "Bag", dg.ErrConflict},
		{"one's own lease", "bob", "00", "Bag", nil},
		{"without a lease", "ann", "01", "Bag", nil},
		{"a second thought", "ann", "01", "Coat", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := s.Answer(t.Context(), tt.annotator, tt.id, tt.label); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	if got := leased(t, s, "cid", 9); got != "02" {
		t.Errorf("still to be answered: %q", got)
	}
	for _, n := range []int{0, -1, 101} {
		if _, err := s.Lease(t.Context(), "ann", n); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("Lease of %d: %v", n, err)
		}
	}
}

func TestSkippedTasksComeBackLast(t *testing.T) {
	s := desk(t, openLedger(t), 3)
	for _, id := range []string{"00", "01"} {
		if got := leased(t, s, "ann", 1); got != id {
			t.Fatalf("got %q, want %q", got, id)
		}
		if err := s.Skip(t.Context(), "ann", id); err != nil {
			t.Fatal(err)
		}
	}
	if got := leased(t, s, "bob", 1); got != "00" {
		t.Errorf("bob gets %q, want what ann skipped", got)
	}
	if got := leased(t, s, "ann", 9); got != "02 01" {
		t.Errorf("ann gets %q", got)
	}
	if err := s.Skip(t.Context(), "ann", "99"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("Skip of an unknown sample: %v", err)
	}
}

func TestUndoTakesBackTheLastAnswer(t *testing.T) {
	l := openLedger(t)
	s := desk(t, l, 3)
	for _, id := range []string{"00", "01"} {
		if err := s.Answer(t.Context(), "ann", id, "Bag"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Answer(t.Context(), "bob", "02", "Bag"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"01", "00"} {
		task, err := s.Undo(t.Context(), "ann")
		if err != nil || task.ID != want || task.PredictedClass != "Trouser" {
			t.Errorf("Undo gives %+v, %v, want %s", task, err, want)
		}
	}
	if _, err := s.Undo(t.Context(), "ann"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("nothing left: %v", err)
	}
	if got := leased(t, s, "bob", 9); got != "" {
		t.Errorf("bob gets %q, but ann has taken both back to answer them", got)
	}
	if err := s.Answer(t.Context(), "ann", "00", "Coat"); err != nil {
		t.Fatal(err)
	}
	restarted := New(s.o, nil, l, s.buckets)
	if task, err := restarted.Undo(t.Context(), "ann"); err != nil || task.ID != "00" {
		t.Errorf("after a restart: %+v, %v", task, err)
	}
	if err := s.Answer(t.Context(), "ann", "00", "Coat"); err != nil {
		t.Fatal(err)
	}
	if err := l.Collected(t.Context(), ledger.Answer{ID: "00", Label: "Coat", At: noon}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Undo(t.Context(), "ann"); !errors.Is(err, dg.ErrConflict) {
		t.Errorf("after it was collected: %v", err)
	}
	if p, err := s.Progress(t.Context()); err != nil || p != (ledger.LabelProgress{Waiting: 1, Answered: 1, Labelled: 1}) {
		t.Errorf("progress %+v: %v", p, err)
	}
}

func TestTaskWithoutConfidenceIsJSON(t *testing.T) {
	b, err := json.Marshal([]Task{{ID: "a", Confidence: math.NaN(), Stratum: dg.Random}, {ID: "b", Confidence: 0.5}})
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(b, &got); err != nil || got[0]["confidence"] != nil || got[0]["stratum"] != "random" || got[1]["confidence"] != 0.5 {
		t.Errorf("%s: %v", b, err)
	}
	if !slices.Contains([]string{"a"}, got[0]["id"].(string)) {
		t.Errorf("%s", b)
	}
}
