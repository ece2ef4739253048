package labelling

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// said are answers "who:label" in the order they were given.
func said(id, text string) (out []ledger.Answer) {
	for i, a := range strings.Fields(text) {
		who, label, _ := strings.Cut(a, ":")
		out = append(out, ledger.Answer{ID: id, Label: label, Annotator: who, Source: dg.HumanLabel, At: noon.Add(time.Duration(i) * time.Minute)})
	}
	return out
}

func TestTheMajorityIsTheLabel(t *testing.T) {
	for _, tt := range []struct {
		claim, answers string // the model says Dress
		label          string
		votes          dg.Votes
		disputed, tied bool
	}{
		{"one person", "ann:Bag", "Bag", dg.Votes{}, false, false},
		{"of one mind against the model", "ann:Bag bob:Bag cid:Bag", "Bag", dg.Votes{Of: 3}, false, false},
		{"of one mind with the model", "ann:Dress bob:Dress", "Dress", dg.Votes{Agree: 2, Of: 2}, false, false},
		{"two against one", "ann:Dress bob:Bag cid:Bag", "Bag", dg.Votes{Agree: 1, Of: 3}, true, false},
		{"the majority need not come first", "ann:Bag bob:Dress cid:Dress", "Dress", dg.Votes{Agree: 2, Of: 3}, true, false},
		{"a plurality", "ann:Coat bob:Bag cid:Bag dan:Dress", "Bag", dg.Votes{Agree: 1, Of: 4}, true, false},
		{"a tie goes to what was named first", "ann:Coat bob:Bag cid:Dress dan:Bag eve:Coat", "Coat", dg.Votes{Agree: 1, Of: 5}, true, true},
		{"named first, but by fewer", "ann:Coat bob:Bag cid:Dress dan:Dress eve:Bag", "Bag", dg.Votes{Agree: 2, Of: 5}, true, true},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			answers := said("x", tt.answers)
			for range 5 { // in whatever order the rows come
				rand.Shuffle(len(answers), func(i, j int) { answers[i], answers[j] = answers[j], answers[i] })
				got := count(answers, "Dress")
				last := noon.Add(time.Duration(len(answers)-1) * time.Minute)
				if got.Label != tt.label || got.Votes != tt.votes || got.disputed != tt.disputed || got.tied != tt.tied || !got.At.Equal(last) || got.ID != "x" {
					t.Errorf("got %+v", got)
				}
			}
		})
	}
}

func TestAnswersAtTheSameTimeAreCountedAlikeEveryTime(t *testing.T) {
	answers := said("x", "bob:Bag ann:Coat")
	answers[1].At = answers[0].At
	for range 20 {
		slices.Reverse(answers)
		if got := count(answers, "Dress"); got.Label != "Coat" {
			t.Fatalf("%q: want that of the first by name, whatever the order", got.Label)
		}
	}
}

// TestLedgerAndServiceAgreeOnWhoIsAsked: the ledger's SQL and wanted say the
// same about random answers.
func TestLedgerAndServiceAgreeOnWhoIsAsked(t *testing.T) {
	l := openLedger(t)
	s := desk(t, l, 1)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		for i := range 1 + rng.IntN(6) {
			a := ledger.Answer{ID: "00", Label: dg.FashionMNIST[rng.IntN(3)], Annotator: fmt.Sprint(i), At: noon.Add(time.Duration(rng.IntN(9)))}
			if err := l.Answer(t.Context(), a); err != nil {
				t.Fatal(err)
			}
		}
		answers, err := l.AnswersOf(t.Context(), "00")
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= maxAnnotators; n++ {
			o := s.o
			o.Annotators = n
			asking, err := l.Asking(t.Context(), "new", o.quorum(), 9)
			if err != nil {
				t.Fatal(err)
			}
			want, got := wanted(answers["00"], o.quorum()), 0
			if len(asking) == 1 {
				got = asking[0].Wanted
			}
			if got != want {
				t.Fatalf("%d annotators, answers %v: the ledger asks %d more, the service %d", n, answers, got, want)
			}
		}
		for _, a := range answers["00"] {
			if err := l.Unanswer(t.Context(), "00", a.Annotator); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// people is a desk where n people are asked about each of so many samples.
func people(t *testing.T, n, samples int) *Service {
	t.Helper()
	s := desk(t, openLedger(t), samples)
	s.o.Annotators = n
	return s
}

func answering(t *testing.T, s *Service, who, id, label string, want error) {
	t.Helper()
	if err := s.Answer(context.Background(), who, id, label); !errors.Is(err, want) {
		t.Errorf("%s says %s is a %s: %v, want %v", who, id, label, err, want)
	}
}

func TestDistinctPeopleAreAskedAboutOneSample(t *testing.T) {
	s := people(t, 3, 2)
	for _, step := range []struct{ who, want string }{
		{"ann", "00 01"}, {"bob", "00 01"}, {"cid", "00 01"}, // three at once, for three are wanted
		{"dan", ""}, // but no fourth
		{"ann", "00 01"},
	} {
		if got := leased(t, s, step.who, 9); got != step.want {
			t.Errorf("%s gets %q, want %q", step.who, got, step.want)
		}
	}
	answering(t, s, "ann", "00", "Bag", nil)
	if got := leased(t, s, "ann", 9); got != "01" {
		t.Errorf("ann gets %q, but she has answered 00", got)
	}
	if got := leased(t, s, "dan", 9); got != "" {
		t.Errorf("dan gets %q, but bob and cid hold what is wanted", got)
	}
	if err := s.Skip(t.Context(), "cid", "00"); err != nil {
		t.Fatal(err)
	}
	if got := leased(t, s, "dan", 9); got != "00" {
		t.Errorf("dan gets %q, want what cid gave back", got)
	}
	answering(t, s, "cid", "00", "Bag", dg.ErrConflict) // dan and bob hold it now
	answering(t, s, "dan", "00", "Coat", nil)
	answering(t, s, "bob", "00", "Bag", nil)
	if got := leased(t, s, "eve", 9); got != "" {
		t.Errorf("eve gets %q: 00 is decided, 01 is held by three", got)
	}
	answering(t, s, "eve", "00", "Bag", dg.ErrConflict)
	answering(t, s, "dan", "00", "Bag", nil) // who has answered may think again
	if p, err := s.Progress(t.Context()); err != nil || p != (ledger.LabelProgress{Waiting: 1, Answered: 1}) {
		t.Errorf("progress %+v: %v", p, err)
	}
}

func TestOfTwoPeopleAtOnceTheSecondIsTold(t *testing.T) {
	s := people(t, 1, 1)
	if got := leased(t, s, "ann", 1); got != "00" {
		t.Fatal(got)
	}
	s = New(s.o, nil, s.ledger, s.buckets) // a restart forgets leases
	if got := leased(t, s, "bob", 1); got != "00" {
		t.Fatal(got)
	}
	answering(t, s, "ann", "00", "Bag", dg.ErrConflict) // bob is at it
	s = New(s.o, nil, s.ledger, s.buckets)
	answering(t, s, "ann", "00", "Bag", nil)
	answering(t, s, "bob", "00", "Coat", dg.ErrConflict)
	answering(t, s, "bob", "00", "Bag", dg.ErrConflict)
	answers, err := s.ledger.AnswersOf(t.Context(), "00")
	if err != nil || len(answers["00"]) != 1 || answers["00"][0].Label != "Bag" {
		t.Errorf("answers %v: %v: want the first alone", answers, err)
	}
}

func TestATieAsksOneMoreUpToABound(t *testing.T) {
	s := people(t, 2, 1)
	answering(t, s, "ann", "00", "Bag", nil)
	answering(t, s, "bob", "00", "Coat", nil)
	if got := leased(t, s, "bob", 1); got != "" {
		t.Errorf("bob gets %q, but he has answered", got)
	}
	if got := leased(t, s, "cid", 1); got != "00" {
		t.Errorf("cid gets %q, want the tie", got)
	}
	if got := leased(t, s, "dan", 1); got != "" {
		t.Errorf("dan gets %q, but one more is enough, and cid holds it", got)
	}
	answering(t, s, "cid", "00", "Dress", nil)
	if got := leased(t, s, "dan", 1); got != "00" {
		t.Errorf("dan gets %q, want the tie of three", got)
	}
	answering(t, s, "dan", "00", "Shirt", nil) // four of four minds: the bound
	if got := leased(t, s, "eve", 1); got != "" {
		t.Errorf("eve gets %q: nobody more is asked", got)
	}
	answering(t, s, "eve", "00", "Bag", dg.ErrConflict)
	if d, err := s.ledger.Decided(t.Context(), s.o.quorum(), endOfTime, ledger.Poll{}, 9); err != nil || len(d) != 1 {
		t.Errorf("decided %v: %v", d, err)
	}
}

func TestUndoTakesBackOnlyOnesOwnAnswer(t *testing.T) {
	s := people(t, 2, 2)
	answering(t, s, "ann", "00", "Bag", nil)
	answering(t, s, "bob", "00", "Coat", nil)
	answering(t, s, "bob", "01", "Coat", nil)
	if task, err := s.Undo(t.Context(), "ann"); err != nil || task.ID != "00" {
		t.Errorf("ann takes back %s: %v", task.ID, err)
	}
	answers, err := s.ledger.AnswersOf(t.Context(), "00", "01")
	if err != nil || len(answers["00"]) != 1 || answers["00"][0].Annotator != "bob" || len(answers["01"]) != 1 {
		t.Errorf("answers %v: %v: want bob's to stay", answers, err)
	}
	if _, err := s.Undo(t.Context(), "ann"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("ann has no other answer: %v", err)
	}
	if got := leased(t, s, "cid", 9); got != "01" {
		t.Errorf("cid gets %q: ann has 00 back, and one more is enough", got)
	}
	answering(t, s, "ann", "00", "Coat", nil)
	if err := s.ledger.(*ledger.Ledger).Collected(t.Context(), ledger.Answer{ID: "00", Label: "Coat", At: noon, Votes: dg.Votes{Of: 2}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Undo(t.Context(), "ann"); !errors.Is(err, dg.ErrConflict) {
		t.Errorf("after it was collected: %v", err)
	}
	if task, err := s.Undo(t.Context(), "bob"); err != nil || task.ID != "01" {
		t.Errorf("bob takes back %s: %v", task.ID, err)
	}
	if _, err := s.Undo(t.Context(), "bob"); !errors.Is(err, dg.ErrConflict) {
		t.Errorf("bob's other one is collected: %v", err)
	}
}

func TestUndoPassesByWhatIsForgotten(t *testing.T) {
	l := openLedger(t)
	s := desk(t, l, 2)
	answering(t, s, "ann", "00", "Bag", nil)
	answering(t, s, "ann", "01", "Bag", nil)
	if err := l.Unanswer(t.Context(), "01", "ann"); err != nil { // as when its label was withdrawn by others
		t.Fatal(err)
	}
	if task, err := s.Undo(t.Context(), "ann"); err != nil || task.ID != "00" {
		t.Errorf("took back %s: %v", task.ID, err)
	}
}
