package labelling

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// panel has four images waiting that three people are asked about: agreed.png
// and split.png have their answers, torn.png one of each kind up to the bound,
// open.png two answers, which agree.
func panel(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.o.Annotators = 3
	for _, name := range []string{"agreed", "split", "torn", "open"} {
		w.put("class_03/"+name+".png", sampleTags("0.500", 5))
	}
	w.curate(halfHour, false)
	for _, given := range []string{
		"agreed.png ann:Dress bob:Dress cid:Dress",
		"split.png ann:Dress bob:Bag cid:Bag",
		"torn.png ann:Coat bob:Bag cid:Dress dan:Shirt eve:Sneaker",
		"open.png ann:Bag bob:Bag",
	} {
		id, answers, _ := strings.Cut(given, " ")
		for _, a := range said(id, answers) {
			w.now = a.At
			if err := w.service().Answer(t.Context(), a.Annotator, id, a.Label); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.now = noon.Add(time.Hour)
	return w
}

// checkPanel checks what panel's world must be after collect.
func (w *world) checkPanel() {
	w.t.Helper()
	for key, source := range map[string]string{"class_03/agreed.png": "human:3/3", "class_08/split.png": "human:1/3", "class_04/torn.png": "human:1/5"} {
		for _, bucket := range []string{w.buckets.Clean, w.buckets.Noisy} {
			tags := w.list(bucket)[key]
			if tags["label_source"] != source || tags["stratum"] != "low_confidence" || tags["labelled_at"] == "" {
				w.t.Errorf("%s/%s has %v, want %s", bucket, key, tags, source)
			}
		}
	}
	if clean, noisy := w.list(w.buckets.Clean), w.list(w.buckets.Noisy); len(clean) != 3 || len(noisy) != 3 {
		w.t.Errorf("clean %v, noisy %v", slices.Sorted(maps.Keys(clean)), slices.Sorted(maps.Keys(noisy)))
	}
	if got := ids(w.list(w.buckets.Waiting)); !slices.Equal(got, []string{"open.png"}) {
		w.t.Errorf("label-wait has %v", got)
	}
	if r := w.record("split.png"); r.Votes != (dg.Votes{Agree: 1, Of: 3}) || r.Label != "Bag" || !r.LabelledAt.Equal(noon.Add(2*time.Minute)) {
		w.t.Errorf("ledger has %+v: want the time of the answer that made it", r)
	}
	counts, err := w.ledger.Counts(context.Background(), "", halfHour)
	if err != nil || len(counts) != 1 || counts[0].Labels != 3 || counts[0].Correct != 1 {
		w.t.Fatalf("counts %+v: %v", counts, err)
	}
	if got, want := counts[0].Agreement(), 1+.333+.2; got != want { // late labels, in the window of their predictions
		w.t.Errorf("agreement %v, want %v", got, want)
	}
	w.checkNothingFrozen()
}

func TestCollectCarriesTheVotes(t *testing.T) {
	w := panel(t)
	r := w.collect()
	if r.Collected != 3 || r.Correct != 1 || r.Disputed != 2 || !slices.Equal(r.Tied, []string{"torn.png"}) || r.Line != "Accuracy on batch: 33.33% (1/3)" {
		t.Errorf("report %+v", r)
	}
	w.checkPanel()
	if again := w.collect(); again.Collected+again.Already != 0 {
		t.Errorf("the second run: %+v", again)
	}
	w.checkPanel()
}

// TestACrashKeepsTheVotesThatWereCounted: whatever the next process is told to
// ask for, what was being moved arrives as it was decided.
func TestACrashKeepsTheVotesThatWereCounted(t *testing.T) {
	for good := 1; ; good += 3 { // the first change decides
		w := panel(t)
		s, f := w.crashing(good, good%2 == 0)
		if _, err := s.Collect(t.Context()); !f.hit {
			if err != nil || good < 12 {
				t.Fatalf("%d changes: %v", good, err)
			}
			return
		} else if !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		w.o.Annotators = 9
		if r := w.collect(); r.Disputed > 2 {
			t.Errorf("report %+v", r)
		}
		w.checkPanel()
		if t.Failed() {
			t.Fatalf("after a crash at change %d", good)
		}
	}
}

func TestTheUndoWindowBeginsWithTheLastAnswer(t *testing.T) {
	w := panel(t)
	w.o.UndoWindow = 10 * time.Minute
	w.now = noon.Add(11 * time.Minute) // torn.png's fifth came at four past
	if r := w.collect(); r.Collected != 0 {
		t.Errorf("%+v", r)
	}
	w.now = noon.Add(12 * time.Minute)
	if r := w.collect(); r.Collected != 2 {
		t.Errorf("%+v: want those answered by two past", r)
	}
}

func TestFewerPeopleSufficeOnceFewerAreAskedFor(t *testing.T) {
	w := panel(t)
	w.o.Annotators = 2
	if r := w.collect(); r.Collected != 4 || r.Correct != 1 {
		t.Errorf("%+v", r)
	}
	if r := w.record("open.png"); r.Label != "Bag" || r.Votes != (dg.Votes{Of: 2}) {
		t.Errorf("open.png %+v", r)
	}
}

// memory is an object store of tags only.
type memory struct {
	ObjectStore
	mu      sync.Mutex
	objects map[string]bool
	away    bool
	copies  int
}

func (m *memory) Tags(context.Context, string, string) (map[string]string, error) {
	if m.away {
		return nil, errCrash
	}
	return map[string]string{}, nil
}

func (m *memory) Copy(_ context.Context, _, _, bucket, key string, _ map[string]string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.copies++
	m.objects[bucket+"/"+key] = true
	return nil
}

func (m *memory) Delete(context.Context, string, ...string) error { return nil }

func TestManyAnswersAreCollectedInBatches(t *testing.T) {
	l := openLedger(t)
	const n = 2*collectBatch + 3
	s := desk(t, l, n)
	store := &memory{objects: map[string]bool{}}
	s.store, s.o.Now = store, func() time.Time { return noon.Add(time.Hour) }
	for i := range n {
		label := "Bag"
		if i%50 == 0 {
			label = "Banana" // no class: left waiting, and in nobody's way
		}
		if err := l.Answer(t.Context(), ledger.Answer{ID: fmt.Sprintf("%02d", i), Annotator: "ann", Label: label, At: noon}); err != nil {
			t.Fatal(err)
		}
	}
	store.away = true
	if r, err := s.Collect(t.Context()); !errors.Is(err, errCrash) || r.Collected != 0 {
		t.Errorf("the store away: %+v, %v", r, err)
	}
	if moving, err := l.Moving(t.Context()); err != nil || len(moving) == 0 || len(moving) > collectBatch {
		t.Errorf("%d are being moved, want one batch at most: %v", len(moving), err)
	}
	store.away = false
	r, err := s.Collect(t.Context())
	if err != nil || r.Collected != n-6 || len(r.Unknown) != 6 || store.copies != 2*(n-6) {
		t.Errorf("%d collected, %d unknown, %d copies: %v", r.Collected, len(r.Unknown), store.copies, err)
	}
}

func TestImportTakesSeveralPeoplesAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, rows string
		people     int
		imported   int
		already    int
		bad        string
	}{
		{"three about one", "00,Bag,ann\n00,Coat,bob\n00,Bag,cid\n", 3, 3, 0, ""},
		{"one person twice", "00,Bag,ann\n00,Coat,ann\n", 3, 0, 0, "3: the same sample as on line 2"},
		{"more than are asked, of one mind", "00,Bag,ann\n00,Bag,bob\n", 1, 1, 1, ""},
		{"more than are asked, of two", "00,Bag,ann\n00,Coat,bob\n", 1, 0, 0, `3: answered "Bag" already`},
		{"a tie asks one more", "00,Bag,ann\n00,Coat,bob\n00,Coat,cid\n", 2, 3, 0, ""},
		{"who has answered may think again", "01,Coat,eve\n", 1, 1, 0, ""},
		{"and say the same", "01,Bag,eve\n", 1, 0, 1, ""},
		{"another one may not", "01,Coat,ann\n", 1, 0, 0, `2: answered "Bag" already`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := people(t, tt.people, 2)
			answering(t, s, "eve", "01", "Bag", nil)
			r, err := s.Import(t.Context(), reader("id,label,annotator\n"+tt.rows), CSV, "import")
			if (err != nil) != (tt.bad != "") || r.Imported != tt.imported || r.Already != tt.already {
				t.Fatalf("%+v: %v", r, err)
			}
			if tt.bad != "" && (len(r.Bad) != 1 || !strings.HasPrefix(fmt.Sprintf("%d: %s", r.Bad[0].Line, r.Bad[0].Problem), tt.bad)) {
				t.Errorf("bad rows %+v, want %s", r.Bad, tt.bad)
			}
		})
	}
}

func TestExportSaysHowPeopleVoted(t *testing.T) {
	l := openLedger(t)
	s := desk(t, l, 1)
	if err := l.Collected(t.Context(), ledger.Answer{ID: "00", Label: "Bag", At: noon, Votes: dg.Votes{Agree: 1, Of: 3}}); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if _, err := s.Export(t.Context(), &out, CSV); err != nil || !strings.HasSuffix(out.String(), ",false,1/3\n") {
		t.Errorf("%s: %v", out.String(), err)
	}
}
