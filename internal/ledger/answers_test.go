package ledger

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	dg "driftgate"
)

// waiting gives l samples of class Trouser that lie in label-wait, "00" the
// oldest.
func waiting(t *testing.T, l *Ledger, n int) {
	t.Helper()
	for i := range n {
		id := fmt.Sprintf("%02d", i)
		must(t, l.Captured(t.Context(), sample(id, t0.Add(time.Duration(i)*time.Second), .5)))
		must(t, l.Decide(t.Context(), []Decision{{ID: id, Stratum: dg.LowConfidence, SamplingFraction: 1, Interval: t0, Selected: true}}))
		must(t, l.Placed(t.Context(), id))
	}
}

func TestEachPersonsAnswerIsKeptAndTakenBackByItself(t *testing.T) {
	ctx, l := t.Context(), open(t)
	waiting(t, l, 1)
	for i, who := range []string{"ann", "bob", "ann"} {
		must(t, l.Answer(ctx, Answer{ID: "00", Annotator: who, Label: []string{"Bag", "Coat", "Dress"}[i], At: t0.Add(time.Duration(i) * time.Minute)}))
	}
	said := func() (out string) {
		for _, a := range get[map[string][]Answer](t)(l.AnswersOf(ctx, "00", "none"))["00"] {
			out += a.Annotator + ":" + a.Label + " "
		}
		return out
	}
	if got := said(); got != "bob:Coat ann:Dress " {
		t.Errorf("answers %q: want one a person, from the oldest on", got)
	}
	if a := get[Answer](t)(l.LastAnswer(ctx, "ann")); a.Label != "Dress" || a.ID != "00" {
		t.Errorf("ann's last answer %+v", a)
	}
	must(t, l.Unanswer(ctx, "00", "bob"))
	if got := said(); got != "ann:Dress " {
		t.Errorf("after bob took his back: %q", got)
	}
	for name, err := range map[string]error{
		"bob again":           l.Unanswer(ctx, "00", "bob"),
		"an unknown sample":   l.Unanswer(ctx, "99", "ann"),
		"answer to the same":  l.Answer(ctx, Answer{ID: "99", Annotator: "ann", Label: "Bag", At: t0}),
		"bob's newest answer": func() error { _, err := l.LastAnswer(ctx, "bob"); return err }(),
	} {
		if !errors.Is(err, dg.ErrNotFound) {
			t.Errorf("%s: %v, want not found", name, err)
		}
	}
	must(t, l.Unanswer(ctx, "00", "ann"))
	if p := get[LabelProgress](t)(l.Progress(ctx, Quorum{})); p != (LabelProgress{Waiting: 1}) {
		t.Errorf("all taken back: %+v", p)
	}
}

func TestASampleWaitsUntilEnoughPeopleHaveAnswered(t *testing.T) {
	ctx := t.Context()
	for _, tt := range []struct {
		claim   string
		q       Quorum
		answers string // labels, one a person
		decided bool
		wanted  int
	}{
		{"nobody", Quorum{}, "", false, 1},
		{"one of one", Quorum{}, "B", true, 0},
		{"one of three", Quorum{People: 3, Most: 5}, "B", false, 2},
		{"two of three, though they agree", Quorum{People: 3, Most: 5}, "BB", false, 1},
		{"a majority of three", Quorum{People: 3, Most: 5}, "BDB", true, 0},
		{"three of three minds", Quorum{People: 3, Most: 5}, "BCD", false, 1},
		{"the fourth decides", Quorum{People: 3, Most: 5}, "BCDD", true, 0},
		{"two against two", Quorum{People: 3, Most: 5}, "BBDD", false, 1},
		{"a tie at the bound is decided", Quorum{People: 3, Most: 5}, "BBDDC", true, 0},
		{"one against one", Quorum{People: 2, Most: 4}, "BD", false, 1},
		{"more answers than are asked for now", Quorum{}, "BBD", true, 0},
		{"a tie from when more were asked, beyond the bound", Quorum{}, "BD", true, 0},
		{"a plurality is enough", Quorum{People: 5, Most: 7}, "BBCDE", true, 0},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			l := open(t)
			waiting(t, l, 1)
			for i, label := range tt.answers {
				must(t, l.Answer(ctx, Answer{ID: "00", Annotator: fmt.Sprint(i), Label: string(label), At: t0.Add(time.Duration(i))}))
			}
			decided := get[[]Poll](t)(l.Decided(ctx, tt.q, t0.Add(time.Hour), Poll{}, 9))
			asking := get[[]Asked](t)(l.Asking(ctx, "new", tt.q, 9))
			p := get[LabelProgress](t)(l.Progress(ctx, tt.q))
			if (len(decided) == 1) != tt.decided || (len(asking) == 0) != tt.decided || (p.Answered == 1) != tt.decided || p.Waiting+p.Answered != 1 {
				t.Errorf("decided %v, asking %v, progress %+v", decided, asking, p)
			}
			if len(asking) == 1 && (asking[0].Wanted != tt.wanted || asking[0].Answers != len(tt.answers) || asking[0].ID() != "00" || asking[0].Confidence != .5) {
				t.Errorf("asking %+v, want %d more people", asking[0], tt.wanted)
			}
			if got := get[[]Asked](t)(l.Asking(ctx, "0", tt.q, 9)); tt.answers != "" && len(got) != 0 {
				t.Error("who has answered is asked again")
			}
		})
	}
}

// TestPollsCountWhatIsThere compares polls with the answers themselves after
// random comings and goings.
func TestPollsCountWhatIsThere(t *testing.T) {
	ctx, l, rng := t.Context(), open(t), rand.New(rand.NewPCG(5, 5))
	waiting(t, l, 4)
	given := map[string]map[string]string{"00": {}, "01": {}, "02": {}, "03": {}} // label by sample and person
	for range 150 {
		id, who, label := fmt.Sprintf("%02d", rng.IntN(4)), fmt.Sprint(rng.IntN(6)), string("BCD"[rng.IntN(3)])
		if rng.IntN(3) > 0 {
			must(t, l.Answer(ctx, Answer{ID: id, Annotator: who, Label: label, At: t0.Add(time.Duration(rng.IntN(1000)))}))
			given[id][who] = label
		} else {
			_, answered := given[id][who]
			if err := l.Unanswer(ctx, id, who); (err == nil) != answered || (err != nil && !errors.Is(err, dg.ErrNotFound)) {
				t.Fatal(err)
			}
			delete(given[id], who)
		}
		q := Quorum{People: 1 + rng.IntN(4), Most: 1 + rng.IntN(6)}
		var want []string
		for id, labels := range given {
			votes, most, leaders := map[string]int{}, 0, 0
			for _, label := range labels {
				votes[label]++
				most = max(most, votes[label])
			}
			for _, n := range votes {
				if n == most {
					leaders++
				}
			}
			if len(labels) >= max(q.People, q.Most) || (len(labels) >= q.People && leaders == 1) {
				want = append(want, id)
			}
		}
		slices.Sort(want)
		var got []string
		for after := (Poll{}); ; { // by pages of one
			page := get[[]Poll](t)(l.Decided(ctx, q, t0.Add(time.Hour), after, 1))
			if len(page) == 0 {
				break
			}
			if p := page[0]; p.Newest.Before(after.Newest) {
				t.Fatalf("%v comes after %v", p, after)
			}
			got, after = append(got, page[0].ID), page[0]
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("decided %v, want %v, of %v with %+v", got, want, given, q)
		}
	}
}

func TestWhatIsBeingMovedStays(t *testing.T) {
	ctx, l := t.Context(), open(t)
	waiting(t, l, 3)
	for i, who := range []string{"ann", "bob", "cid"} {
		must(t, l.Answer(ctx, Answer{ID: "00", Annotator: who, Label: []string{"Bag", "Trouser", "Bag"}[i], At: t0.Add(time.Minute)}))
	}
	must(t, l.Answer(ctx, Answer{ID: "01", Annotator: "ann", Label: "Bag", At: t0.Add(time.Minute)}))
	label := Answer{ID: "00", Label: "Bag", Source: dg.HumanLabel, At: t0.Add(time.Minute), Votes: dg.Votes{Agree: 1, Of: 3}}
	for range 2 {
		must(t, l.Move(ctx, label))
	}
	for name, err := range map[string]error{
		"an answer":      l.Answer(ctx, Answer{ID: "00", Annotator: "dan", Label: "Coat", At: t0}),
		"an answer back": l.Unanswer(ctx, "00", "ann"),
		"another label":  l.Move(ctx, Answer{ID: "01", Label: "Bag", At: t0}, Answer{ID: "00", Label: "Coat", At: t0}),
	} {
		if !errors.Is(err, dg.ErrConflict) {
			t.Errorf("%s: %v, want a conflict", name, err)
		}
	}
	if err := l.Move(ctx, Answer{ID: "02", Label: "Bag", At: t0}); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("a sample without answers: %v", err)
	}
	moving := get[[]Answer](t)(l.Moving(ctx))
	if len(moving) != 1 || moving[0] != label {
		t.Errorf("moving %+v, want %+v alone: a move is all or nothing", moving, label)
	}
	if d := get[[]Poll](t)(l.Decided(ctx, Quorum{}, t0.Add(time.Hour), Poll{}, 9)); len(d) != 1 || d[0].ID != "01" {
		t.Errorf("decided %v: what is moving is not decided again", d)
	}
	must(t, l.SetForeignLabel(ctx, sample("00", t0, .5), "Coat"))
	if r := get[Record](t)(l.Record(ctx, "00")); r.State != Waiting {
		t.Errorf("a foreign label took the place of what is being moved: %+v", r)
	}
	must(t, l.Unmove(ctx, "00", "none"))
	must(t, l.Unanswer(ctx, "00", "cid"))
	must(t, l.Answer(ctx, Answer{ID: "00", Annotator: "cid", Label: "Bag", At: t0.Add(time.Minute)}))
	must(t, l.Move(ctx, label))
	must(t, l.Collected(ctx, label))
	if moving := get[[]Answer](t)(l.Moving(ctx)); len(moving) != 0 {
		t.Errorf("still moving %v", moving)
	}
	if left := get[map[string][]Answer](t)(l.AnswersOf(ctx, "00")); len(left) != 0 {
		t.Errorf("answers left %v", left)
	}
	if r := get[Record](t)(l.Record(ctx, "00")); r.Votes != label.Votes || r.Label != "Bag" || r.State != Labelled {
		t.Errorf("record %+v", r)
	}
}

// TestVotesWeighALabel: y is the share of people who agree with the model.
func TestVotesWeighALabel(t *testing.T) {
	ctx, l := t.Context(), open(t)
	waiting(t, l, 5)
	for i, a := range []Answer{
		{Label: "Trouser"}, // one person, right
		{Label: "Bag"},     // one person, wrong
		{Label: "Trouser", Votes: dg.Votes{Agree: 2, Of: 3}}, // .667
		{Label: "Bag", Votes: dg.Votes{Agree: 1, Of: 3}},     // .333
		{Label: "Bag", Votes: dg.Votes{Of: 2}},               // 0, by two
	} {
		a.ID, a.At = fmt.Sprintf("%02d", i), t0.Add(time.Hour)
		must(t, l.Collected(ctx, a))
	}
	counts := get[[]dg.StratumCount](t)(l.Counts(ctx, "", dg.Interval{Start: t0, End: t0.Add(time.Hour)}))
	want := dg.StratumCount{Stratum: dg.LowConfidence, Interval: t0, Predictions: 5, Selected: 5, Labels: 5, Correct: 2, Moments: dg.Moments{
		F: 2500, FF: 1_250_000, LabelF: 2500, LabelFF: 1_250_000,
		LabelYF: 500 * (1000 + 667 + 333), LabelYY: 1_000_000 + 667*667 + 333*333, Dissent: 667 - 1000 + 333,
	}}
	if len(counts) != 1 || counts[0] != want || counts[0].Agreement() != 2 {
		t.Errorf("got  %+v\nwant %+v", counts, want)
	}
	foreign := open(t) // the same, as the clean bucket shows it
	for i := range 5 {
		r := get[Record](t)(l.Record(ctx, fmt.Sprintf("%02d", i)))
		s, err := dg.ParseSample(r.Key, r.Tags())
		must(t, err)
		must(t, foreign.SetForeignLabels(ctx, ForeignLabel{Sample: s, Label: r.Label, Interval: t0}))
	}
	again := get[[]dg.StratumCount](t)(foreign.Counts(ctx, "", dg.Interval{Start: t0, End: t0.Add(time.Hour)}))
	if !slices.Equal(again, counts) {
		t.Errorf("from foreign objects %+v\nwant %+v", again, counts)
	}
}

func TestAForeignLabelOutranksAnswersNotYetMoving(t *testing.T) {
	ctx, l := t.Context(), open(t)
	waiting(t, l, 1)
	must(t, l.Answer(ctx, Answer{ID: "00", Annotator: "ann", Label: "Bag", At: t0}))
	clean := sample("00", t0, .5)
	clean.LabelSource, clean.Votes, clean.LabelledAt = dg.HumanLabel, dg.Votes{Agree: 3, Of: 4}, t0.Add(time.Hour)
	must(t, l.SetForeignLabel(ctx, clean, "Trouser"))
	if r := get[Record](t)(l.Record(ctx, "00")); r.State != Labelled || r.Label != "Trouser" || r.Votes != clean.Votes {
		t.Errorf("record %+v", r)
	}
	if left := get[map[string][]Answer](t)(l.AnswersOf(ctx, "00")); len(left) != 0 {
		t.Errorf("answers left %v", left)
	}
	if p := get[LabelProgress](t)(l.Progress(ctx, Quorum{People: 3})); p != (LabelProgress{Labelled: 1}) {
		t.Errorf("progress %+v", p)
	}
}

// TestAnswersOfYesterdayAreKept: a ledger from before several people could
// answer, with one answer given and one being moved.
func TestAnswersOfYesterdayAreKept(t *testing.T) {
	onSQLite(t)
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "ledger.db")
	db, err := sql.Open("sqlite", path)
	must(t, err)
	p, err := goose.NewProvider(goose.DialectSQLite3, db, get[fs.FS](t)(fs.Sub(migrations, "migrations/sqlite")))
	must(t, err)
	_, err = p.UpTo(ctx, 3)
	must(t, err)
	for _, statement := range []string{
		`INSERT INTO samples (id, object_key, at, predicted_class, model_version, in_production, state, stratum, selected, placed, reason) VALUES
			('a', 'class_01/a', 1767614400000000000, 'Trouser', 'v1', 1, 'waiting', 'random', 1, 1, 'random'),
			('b', 'class_01/b', 1767614400000000000, 'Trouser', 'v1', 1, 'waiting', 'random', 1, 1, 'random')`,
		`INSERT INTO samples (id, object_key, at, predicted_class, model_version, in_production, state, stratum, selected, placed, reason, label, outcome) VALUES
			('c', 'class_01/c', 1767614400000000000, 'Trouser', 'v1', 1, 'labelled', 'random', 1, 1, 'random', 'Trouser', 1),
			('d', 'class_01/d', 1767614400000000000, 'Trouser', 'v1', 1, 'labelled', 'random', 1, 1, 'random', 'Bag', 2)`,
		`INSERT INTO answers (id, label, annotator, source, at) VALUES ('a', 'Bag', 'ann', 'human', 1767614460000000000), ('b', 'Coat', 'bob', 'human', 1767614470000000000)`,
		`INSERT INTO settings (name, value) VALUES ('labelling.collecting', '{"b":"Coat"}')`,
	} {
		_, err := db.ExecContext(ctx, statement)
		must(t, err)
	}
	must(t, db.Close())
	l, err := Open(ctx, path)
	must(t, err)
	defer l.Close()
	if a := get[map[string][]Answer](t)(l.AnswersOf(ctx, "a"))["a"]; len(a) != 1 || a[0].Annotator != "ann" || a[0].Label != "Bag" || !a[0].At.Equal(t0.Add(time.Minute)) {
		t.Errorf("a's answers %+v", a)
	}
	if d := get[[]Poll](t)(l.Decided(ctx, Quorum{}, t0.Add(time.Hour), Poll{}, 9)); len(d) != 1 || d[0].ID != "a" {
		t.Errorf("decided %v", d)
	}
	if m := get[[]Answer](t)(l.Moving(ctx)); len(m) != 1 || m[0] != (Answer{ID: "b", Label: "Coat", Source: dg.HumanLabel, At: t0.Add(70 * time.Second)}) {
		t.Errorf("moving %+v", m)
	}
	if _, kept, err := l.Setting(ctx, "labelling.collecting"); kept || err != nil {
		t.Errorf("the old setting is still there: %v", err)
	}
	c := get[[]dg.StratumCount](t)(l.Counts(ctx, "", dg.Interval{Start: t0, End: t0.Add(time.Hour)}))
	if len(c) != 1 || c[0].Labels != 2 || c[0].Correct != 1 || c[0].Dissent != 0 || c[0].LabelYY != 1_000_000 {
		t.Errorf("counts %+v", c)
	}
}

func TestQueriesAboutAnswersGoByIndex(t *testing.T) {
	onSQLite(t)
	ctx, l := t.Context(), open(t)
	spy := &planner{t: t, l: l}
	for _, q := range []struct {
		name, index string
		run         func() error
	}{
		{"Asking", "samples_waiting", func() error { _, err := l.Asking(ctx, "ann", Quorum{}, 5); return err }},
		{"Asking, who answered", "autoindex_answers", func() error { _, err := l.Asking(ctx, "ann", Quorum{}, 5); return err }},
		{"Asking, how many", "autoindex_polls", func() error { _, err := l.Asking(ctx, "ann", Quorum{}, 5); return err }},
		{"AnswersOf", "autoindex_answers", func() error { _, err := l.AnswersOf(ctx, "a", "b"); return err }},
		{"LastAnswer", "answers_annotator", func() error { _, err := l.LastAnswer(ctx, "ann"); return ignore(err, dg.ErrNotFound) }},
		{"Decided", "polls_newest (newest", func() error { _, err := l.Decided(ctx, Quorum{}, t0, Poll{}, 5); return err }},
		{"Moving", "polls_moving", func() error { _, err := l.Moving(ctx); return err }},
		{"Progress", "samples_waiting", func() error { _, err := l.Progress(ctx, Quorum{}); return err }},
	} {
		spy.explain(q.name, q.index, q.run)
	}
}
