package labelling

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
	"driftgate/internal/objstore"
)

// answered is golden, curated, with seven of nine tasks answered as Dress or,
// for low.png, Bag; one answer is no class, one task has none.
func answered(t testing.TB) (w *world, labels map[string]string) {
	t.Helper()
	w = golden(t)
	w.curate(halfHour, false)
	tasks := ids(w.list(w.buckets.Waiting))
	labels = map[string]string{}
	for _, id := range tasks {
		switch id {
		case "flagged.png": // no answer
		case "corrected.png":
			w.give(id, "Banana")
		case "low.png":
			labels[id] = "Bag"
			w.answer(id, "Bag")
		default:
			labels[id] = "Dress"
			w.answer(id, "Dress")
		}
	}
	return w, labels
}

// give puts an answer past the service's own check, as a sync might.
func (w *world) give(id, label string) {
	w.t.Helper()
	if err := w.ledger.Answer(context.Background(), ledger.Answer{ID: id, Label: label, Annotator: "sync", At: w.now}); err != nil {
		w.t.Fatal(err)
	}
}

// checkCollected checks what answered's world must be after collect.
func (w *world) checkCollected(labels map[string]string) {
	w.t.Helper()
	production, waiting := w.list(w.buckets.Production), w.list(w.buckets.Waiting)
	clean, noisy := w.list(w.buckets.Clean), w.list(w.buckets.Noisy)
	if got := ids(waiting); !slices.Equal(got, []string{"corrected.png", "flagged.png"}) {
		w.t.Errorf("label-wait has %v", got)
	}
	if len(production) != 18 || len(clean) != 7 || len(noisy) != 14 {
		w.t.Errorf("production %d, clean %d, noisy %d; want 18, 7, 14", len(production), len(clean), len(noisy))
	}
	for id, label := range labels {
		key := dg.SampleKey(dg.FashionMNIST.Index(label), id)
		want := maps.Clone(production["class_03/"+id])
		want["label_source"], want["labelled_at"] = "human", "2026-03-01T12:00:00Z"
		want["stratum"], want["sampling_fraction"] = clean[key]["stratum"], clean[key]["sampling_fraction"]
		if !maps.Equal(clean[key], want) || !maps.Equal(noisy[key], want) {
			w.t.Errorf("%s: clean %v, noisy %v, want %v", key, clean[key], noisy[key], want)
		}
		if clean[key]["stratum"] == "" || clean[key]["sampling_fraction"] == "" {
			w.t.Errorf("%s has lost its stratum", key)
		}
		if r := w.record(id); r.State != ledger.Labelled || r.Label != label || !r.LabelledAt.Equal(noon) {
			w.t.Errorf("ledger has %+v", r)
		}
	}
	if p, err := w.ledger.Progress(context.Background(), ledger.Quorum{}); err != nil || p != (ledger.LabelProgress{Waiting: 1, Answered: 1, Labelled: 7}) {
		w.t.Errorf("progress %+v: %v", p, err)
	}
}

func TestCollectMovesAnsweredImages(t *testing.T) {
	w, labels := answered(t)
	r := w.collect()
	if r.Collected != 7 || r.Correct != 6 || r.Line != "Accuracy on batch: 85.71% (6/7)" || len(r.Missing) != 0 || r.Already != 0 ||
		!slices.Equal(r.Unknown, []UnknownLabel{{"corrected.png", "Banana"}}) {
		t.Errorf("report %+v", r)
	}
	w.checkCollected(labels)
	_, obj, err := w.store.Get(t.Context(), w.buckets.Clean, "class_08/low.png")
	if err != nil || obj.ContentType != "image/png" {
		t.Errorf("content type %q: %v", obj.ContentType, err)
	}
	again := w.collect()
	if again.Collected != 0 || again.Line != "No completed tasks to evaluate." || len(again.Unknown) != 1 {
		t.Errorf("the second run: %+v", again)
	}
	w.checkCollected(labels)
	w.checkNothingFrozen()
}

func (w *world) checkNothingFrozen() {
	w.t.Helper()
	if moving, err := w.ledger.Moving(context.Background()); err != nil || len(moving) != 0 {
		w.t.Errorf("still being collected: %v, %v", moving, err)
	}
}

// trio has three images waiting, two of them answered, one as the model said.
func trio(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	for _, name := range []string{"right", "wrong", "open"} {
		w.put("class_03/"+name+".png", sampleTags("0.500", 5))
	}
	w.curate(halfHour, false)
	// as an old pipeline left it
	if err := w.store.Copy(t.Context(), w.buckets.Production, "class_03/wrong.png", w.buckets.Noisy, "class_03/wrong.png", nil); err != nil {
		t.Fatal(err)
	}
	w.answer("right.png", "Dress")
	w.answer("wrong.png", "Bag")
	return w
}

func TestCollectCrashAtEveryPoint(t *testing.T) {
	points := 0
	for _, after := range crashModes() {
		for good := 0; ; good++ {
			w := trio(t)
			s, f := w.crashing(good, after)
			_, err := s.Collect(t.Context())
			if !f.hit {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			if !errors.Is(err, errCrash) {
				t.Fatalf("crash after %d changes was not reported: %v", good, err)
			}
			points++
			w.collect()
			w.checkTrio()
			if t.Failed() {
				t.Fatalf("after a crash at change %d (carried out: %t)", good, after)
			}
		}
	}
	if points != len(crashModes())*9 { // move, 2 x 2 copies, 2 bulk deletes, 2 collected
		t.Errorf("%d crash points", points)
	}
}

func (w *world) checkTrio() {
	w.t.Helper()
	want := []string{"class_03/right.png", "class_08/wrong.png"}
	for _, bucket := range []string{w.buckets.Clean, w.buckets.Noisy} {
		objects := w.list(bucket)
		if got := slices.Sorted(maps.Keys(objects)); !slices.Equal(got, want) {
			w.t.Errorf("%s has %v", bucket, got)
		}
		for key, tags := range objects {
			if tags["label_source"] != "human" || tags["labelled_at"] != "2026-03-01T12:00:00Z" || tags["stratum"] != "low_confidence" || tags["predicted_class"] != "Dress" {
				w.t.Errorf("%s/%s has %v", bucket, key, tags)
			}
		}
	}
	if got := ids(w.list(w.buckets.Waiting)); !slices.Equal(got, []string{"open.png"}) {
		w.t.Errorf("label-wait has %v", got)
	}
	if p, err := w.ledger.Progress(context.Background(), ledger.Quorum{}); err != nil || p != (ledger.LabelProgress{Waiting: 1, Labelled: 2}) {
		w.t.Errorf("progress %+v: %v", p, err)
	}
	if r := w.record("wrong.png"); r.Label != "Bag" {
		w.t.Errorf("ledger has %+v", r)
	}
	w.checkNothingFrozen()
}

func TestAnAnswerCannotChangeOnceItsImageIsOnItsWay(t *testing.T) {
	w := golden(t)
	w.curate(halfHour, false)
	w.answer("low.png", "Bag")
	s, _ := w.crashing(2, true) // frozen, clean and noisy written, and then the end
	if _, err := s.Collect(t.Context()); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	restarted := w.service()
	for _, who := range []string{"ann", "bob"} {
		if err := restarted.Answer(t.Context(), who, "low.png", "Coat"); !errors.Is(err, dg.ErrConflict) {
			t.Errorf("%s answers: %v", who, err)
		}
	}
	if _, err := restarted.Undo(t.Context(), "ann"); !errors.Is(err, dg.ErrConflict) {
		t.Errorf("Undo: %v", err)
	}
	if r, err := restarted.Import(t.Context(), reader("id,label\nlow.png,Coat\n"), CSV, "ann"); !errors.Is(err, dg.ErrConflict) {
		t.Errorf("Import: %+v, %v", r, err)
	}
	w.collect()
	if clean := w.list(w.buckets.Clean); len(clean) != 1 || clean["class_08/low.png"] == nil {
		t.Errorf("clean has %v", clean)
	}
	w.checkNothingFrozen()
}

func TestCollectWaitsForTheUndoWindow(t *testing.T) {
	w := golden(t)
	w.curate(halfHour, false)
	w.o.UndoWindow = 5 * time.Second
	w.answer("low.png", "Bag")
	w.now = noon.Add(4 * time.Second)
	if r := w.collect(); r.Collected != 0 {
		t.Errorf("collected within the window: %+v", r)
	}
	w.now = noon.Add(5 * time.Second)
	if r := w.collect(); r.Collected != 1 {
		t.Errorf("not collected after the window: %+v", r)
	}
}

func TestStaleNoisyCopyUnderThePredictedClassGoes(t *testing.T) {
	w := golden(t)
	w.curate(halfHour, false)
	for _, id := range []string{"low.png", "lowflagcorr.png"} { // as an old pipeline left them
		if err := w.store.Copy(t.Context(), w.buckets.Production, "class_03/"+id, w.buckets.Noisy, "class_03/"+id, nil); err != nil {
			t.Fatal(err)
		}
	}
	w.answer("low.png", "Bag")
	w.answer("lowflagcorr.png", "Dress") // the model was right: the key stays
	w.collect()
	noisy := w.list(w.buckets.Noisy)
	if noisy["class_03/low.png"] != nil || noisy["class_08/low.png"] == nil {
		t.Error("low.png is not under the human class only")
	}
	if noisy["class_03/lowflagcorr.png"]["label_source"] != "human" {
		t.Error("lowflagcorr.png's labelled copy is gone")
	}
}

func TestImageGoneFromLabelWaitIsTakenFromProduction(t *testing.T) {
	w := golden(t)
	w.curate(halfHour, false)
	w.answer("low.png", "Bag")
	w.answer("flagged.png", "Dress")
	if err := w.store.Delete(t.Context(), w.buckets.Waiting, "class_03/low.png", "class_03/flagged.png"); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Delete(t.Context(), w.buckets.Production, "class_03/flagged.png"); err != nil {
		t.Fatal(err)
	}
	r := w.collect()
	if r.Collected != 1 || !slices.Equal(r.Missing, []string{"class_03/flagged.png"}) {
		t.Errorf("report %+v", r)
	}
	if tags := w.list(w.buckets.Clean)["class_08/low.png"]; tags["stratum"] != "low_confidence" || tags["label_source"] != "human" {
		t.Errorf("tags %v", tags)
	}
	w.checkNothingFrozen()
}

func TestALabelByOthersOutranksTheAnswer(t *testing.T) {
	w := golden(t)
	w.curate(halfHour, false)
	s := w.record("low.png").Sample
	s.Key, s.LabelledAt = "class_04/low.png", noon
	if err := w.ledger.SetForeignLabel(t.Context(), s, "Coat"); err != nil {
		t.Fatal(err)
	}
	if err := w.service().Answer(t.Context(), "ann", "low.png", "Bag"); !errors.Is(err, dg.ErrConflict) {
		t.Errorf("Answer: %v", err)
	}
	if r := w.collect(); r.Collected != 0 {
		t.Errorf("report %+v", r)
	}
	if clean := w.list(w.buckets.Clean); len(clean) != 0 {
		t.Errorf("clean has %v", clean)
	}
}

func TestWithoutClassListNothingIsCollected(t *testing.T) {
	w := golden(t)
	w.curate(halfHour, false)
	if err := w.service().Answer(t.Context(), "ann", "low.png", "Bag"); err != nil {
		t.Fatal(err)
	}
	w.o.Classes = nil
	if _, err := w.service().Collect(t.Context()); !errors.Is(err, dg.ErrIncomplete) {
		t.Errorf("error %v", err)
	}
}

func TestBeforeTheFirstModelThereIsNothingToCollect(t *testing.T) {
	w := newWorld(t)
	w.o.Classes = nil
	if _, err := w.service().Collect(t.Context()); err != nil {
		t.Errorf("error %v", err)
	}
}

func TestCurateAndCollectAtOnceKeepEveryImageOnce(t *testing.T) {
	w := newWorld(t)
	s := w.service()
	done := make(chan error, 2)
	for i := range 30 {
		w.put(fmt.Sprintf("class_03/%02d.png", i), sampleTags("0.500", 1+i%10))
	}
	go func() {
		var err error
		for range 5 {
			if _, e := s.Curate(context.Background(), halfHour, true); e != nil {
				err = e
			}
		}
		done <- err
	}()
	go func() {
		for labelled := 0; labelled < 30; {
			tasks, err := s.Lease(context.Background(), "ann", 7)
			for _, task := range tasks {
				err = errors.Join(err, s.Answer(context.Background(), "ann", task.ID, "Bag"))
			}
			r, e := s.Collect(context.Background())
			if err = errors.Join(err, e); err != nil {
				done <- err
				return
			}
			labelled += r.Collected
		}
		done <- nil
	}()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if clean, noisy, waiting := w.list(w.buckets.Clean), w.list(w.buckets.Noisy), w.list(w.buckets.Waiting); len(clean) != 30 || len(noisy) != 30 || len(waiting) != 0 {
		t.Errorf("clean %d, noisy %d, label-wait %d", len(clean), len(noisy), len(waiting))
	}
}

func TestImageIsFoundInEveryState(t *testing.T) {
	w := golden(t)
	want := "image of class_03/low.png"
	check := func(state ledger.State) {
		t.Helper()
		if r := w.record("low.png"); r.State != state {
			t.Fatalf("state %s, want %s", r.State, state)
		}
		b, kind, err := w.service().Image(t.Context(), "low.png")
		if err != nil || string(b) != want || kind != "image/png" {
			t.Errorf("%s: %q of %s, %v", state, b, kind, err)
		}
	}
	check(ledger.New)
	w.curate(halfHour, false)
	check(ledger.Waiting)
	w.answer("low.png", "Bag")
	w.collect()
	check(ledger.Labelled)
	if err := w.store.Delete(t.Context(), w.buckets.Production, "class_03/low.png"); err != nil {
		t.Fatal(err)
	}
	check(ledger.Labelled)
	if _, _, err := w.service().Image(t.Context(), "none"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("unknown id: %v", err)
	}
}

var _ ObjectStore = (*objstore.Store)(nil)
var _ Ledger = (*ledger.Ledger)(nil)
