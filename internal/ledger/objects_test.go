package ledger

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	dg "driftgate"
)

func object(bucket, key string, status ObjectStatus) Object {
	return Object{Bucket: bucket, Key: key, ETag: "e", Modified: t0.Add(123456789), Tags: "d", Status: status}
}

func TestObjectsComeInTheOrderOfTheirBytes(t *testing.T) {
	ctx, l := t.Context(), open(t)
	keys := []string{"class_03 old/b", "class_03-x/a", "class_03.txt", "class_03/A", "class_03/a", "class_03/z", "class_03/ä", "class_030/a", "z"}
	var all []Object
	for i := range keys {
		all = append(all, object("b", keys[len(keys)-1-i], ObjectEntered), object("other", keys[i], ObjectEntered))
	}
	must(t, l.PutObjects(ctx, all...))
	must(t, l.PutObjects(ctx, all...))
	var got []string
	for after := ""; ; {
		page := get[[]Object](t)(l.ObjectsAfter(ctx, "b", after, 2))
		if len(page) == 0 {
			break
		}
		for _, o := range page {
			got = append(got, o.Key)
			if o != object("b", o.Key, ObjectEntered) {
				t.Errorf("%+v came back", o)
			}
		}
		after = page[len(page)-1].Key
	}
	if !slices.Equal(got, keys) {
		t.Errorf("keys\n%q, want\n%q", got, keys)
	}
	if of := get[map[string][]Object](t)(l.ObjectsOf(ctx, "a", "z", "none")); len(of["a"]) != 6 || len(of["z"]) != 4 || len(of) != 2 {
		t.Errorf("objects of a and z: %v", of)
	}
}

func TestOpenObjectsAreThePendingAndTheVanished(t *testing.T) {
	ctx, l := t.Context(), open(t)
	var all []Object
	for i, s := range []ObjectStatus{ObjectEntered, ObjectPending, ObjectVanished, ObjectIncomplete, ObjectMalformed, ObjectClassless} {
		all = append(all, object("b", fmt.Sprintf("class_01/%d", i), s), object("c", fmt.Sprintf("class_02/%d", i), s))
	}
	must(t, l.PutObjects(ctx, all...))
	if got := get[[]string](t)(l.OpenObjects(ctx, "", 9)); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("open %q", got)
	}
	if got := get[[]string](t)(l.OpenObjects(ctx, "1", 9)); !slices.Equal(got, []string{"2"}) {
		t.Errorf("open after 1: %q", got)
	}
}

func labelledRecord(name string) Record {
	r := Unseen(sample(name, t0, .9))
	r.InProduction = true
	return WithLabel(r, ForeignLabel{Sample: dg.Sample{LabelledAt: t0.Add(time.Hour), Stratum: dg.Random, SamplingFraction: .5}, Label: "Bag", Interval: t0})
}

func TestApplyMakesOnlyChangesThatStillFit(t *testing.T) {
	ctx, l := t.Context(), open(t)
	first, stale := labelledRecord("a"), labelledRecord("b")
	other := object("b", "class_02/a", ObjectEntered)
	must(t, l.Captured(ctx, sample("b", t0, .9), sample("waits", t0, .9)))
	must(t, l.Decide(ctx, []Decision{{ID: "waits", Stratum: dg.Random, SamplingFraction: .5, Selected: true}}))
	must(t, l.Answer(ctx, Answer{ID: "waits", Label: "Bag", At: t0}))
	must(t, l.Move(ctx, Answer{ID: "waits", Label: "Bag", Source: dg.HumanLabel, At: t0}))
	waits := get[Record](t)(l.Record(ctx, "waits"))
	done := get[[]bool](t)(l.Apply(ctx,
		Change{ID: "a", Next: &first, Put: []Object{object("b", "class_01/a", ObjectEntered)}},
		Change{ID: "a", Next: &first, Put: []Object{other}},                                            // twice in one go
		Change{ID: "b", Next: &stale, Put: []Object{object("b", "class_01/b", ObjectEntered)}},         // entered meanwhile
		Change{ID: "waits", Old: &waits, Put: []Object{object("b", "class_01/waits", ObjectEntered)}})) // in collect's hands
	if !slices.Equal(done, []bool{true, false, false, false}) {
		t.Errorf("done %v", done)
	}
	if open := get[[]string](t)(l.OpenObjects(ctx, "", 9)); !slices.Equal(open, []string{"a", "b", "waits"}) {
		t.Errorf("left open: %v", open)
	}
	if r := get[Record](t)(l.Record(ctx, "a")); !r.same(first) {
		t.Errorf("a is %+v, want %+v", r, first)
	}
	if r := get[Record](t)(l.Record(ctx, "b")); r.State != New {
		t.Errorf("b is %+v", r)
	}
}

func TestForgettingASampleForgetsItsAnswersAndKeepsTheTotals(t *testing.T) {
	ctx, l := t.Context(), open(t)
	next := labelledRecord("a")
	get[[]bool](t)(l.Apply(ctx, Change{ID: "a", Next: &next}))
	asked := get[Record](t)(l.Record(ctx, "a"))
	old := asked
	asked.State, asked.Label, asked.LabelSource, asked.LabelledAt, asked.Placed = Waiting, "", "", time.Time{}, true
	get[[]bool](t)(l.Apply(ctx, Change{ID: "a", Old: &old, Next: &asked}))
	if c := get[[]dg.StratumCount](t)(l.Counts(ctx, "", dg.Interval{Start: t0, End: t0.Add(1)})); len(c) != 1 || c[0].Predictions != 1 || c[0].Labels != 0 {
		t.Errorf("after the label was withdrawn: %+v", c)
	}
	must(t, l.Answer(ctx, Answer{ID: "a", Label: "Coat", At: t0}))
	old = get[Record](t)(l.Record(ctx, "a"))
	if done := get[[]bool](t)(l.Apply(ctx, Change{ID: "a", Old: &old})); !done[0] {
		t.Error("not forgotten")
	}
	if _, err := l.Record(ctx, "a"); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("record: %v", err)
	}
	if n := get[[]Outcome](t)(l.OutcomeTotals(ctx)); len(n) != 1 || n[0].Count != 1 {
		t.Errorf("totals %v, want the label there was", n)
	}
	must(t, l.Captured(ctx, sample("a", t0, .9)))
	must(t, l.Decide(ctx, []Decision{{ID: "a", Stratum: dg.Random, SamplingFraction: .5, Selected: true}}))
	if p := get[LabelProgress](t)(l.Progress(ctx, Quorum{})); p.Answered != 0 {
		t.Errorf("an answer about the forgotten sample is left: %+v", p)
	}
}

func TestAServicesOwnEditMakesTagsUnread(t *testing.T) {
	ctx, l := t.Context(), open(t)
	s := sample("a", t0, .9)
	must(t, l.Captured(ctx, s))
	must(t, l.PutObjects(ctx, object("b", s.Key, ObjectEntered), object("b", "class_01/other", ObjectEntered)))
	must(t, l.Captured(ctx, s)) // nothing new
	digests := func() (out []string) {
		for _, o := range get[[]Object](t)(l.ObjectsAfter(ctx, "b", "", 9)) {
			out = append(out, o.Tags)
		}
		return out
	}
	if got := digests(); !slices.Equal(got, []string{"d", "d"}) {
		t.Errorf("digests %q", got)
	}
	s.Flagged = true
	must(t, l.Captured(ctx, s))
	if got := digests(); !slices.Equal(got, []string{"", "d"}) {
		t.Errorf("after the flag: digests %q", got)
	}
}

func TestUnlistedAreSamplesWithoutTheirObject(t *testing.T) {
	ctx, l := t.Context(), open(t)
	for _, name := range []string{"a", "b", "c"} {
		r := labelledRecord(name)
		get[[]bool](t)(l.Apply(ctx, Change{ID: name, Next: &r}))
	}
	must(t, l.PutObjects(ctx, object("p", "class_01/a", ObjectEntered), object("c", "class_02/a", ObjectEntered),
		object("p", "class_01/b", ObjectEntered), object("c", "class_02/c", ObjectVanished)))
	if got := ids(get[[]Record](t)(l.Unlisted(ctx, "p", "c", "", 9))); got != "b c " {
		t.Errorf("unlisted %q", got)
	}
	if got := ids(get[[]Record](t)(l.Unlisted(ctx, "p", "c", "b", 9))); got != "c " {
		t.Errorf("unlisted after b: %q", got)
	}
}

func TestStagedObjectsComeSampleBySampleAcrossPages(t *testing.T) {
	ctx, l := t.Context(), open(t)
	const n = stagedPage + 3
	for _, place := range []Place{InNoisy, InClean, InProduction} {
		var all []Staged
		for i := range n {
			all = append(all, Staged{Place: place, Object: object(fmt.Sprint(place), fmt.Sprintf("class_%02d/%05d", i%7, i), ObjectEntered), Content: map[string]string{"n": fmt.Sprint(i)}})
		}
		slices.Reverse(all)
		must(t, l.Stage(ctx, all...))
	}
	i := 0
	for group, err := range l.Staged(ctx) {
		must(t, err)
		if len(group) != 3 || group[0].ID() != fmt.Sprintf("%05d", i) || group[0].Place != InProduction || group[2].Place != InNoisy || group[1].Content["n"] != fmt.Sprint(i) {
			t.Fatalf("group %d is %+v", i, group)
		}
		i++
	}
	if i != n {
		t.Errorf("%d groups, want %d", i, n)
	}
}

func TestRebuildIsAllOrNothing(t *testing.T) {
	ctx, l := t.Context(), open(t)
	must(t, l.Captured(ctx, sample("kept", t0, .9)))
	must(t, l.PutObjects(ctx, object("p", "class_01/kept", ObjectEntered)))
	must(t, l.Stage(ctx, Staged{Place: InProduction, Object: object("p", "class_01/a", ObjectEntered)}, Staged{Place: InNoisy, Object: object("n", "class_01/a", ObjectEntered)}))
	broken := errors.New("store away")
	records := func(err error) iter.Seq2[Record, error] {
		return func(yield func(Record, error) bool) {
			for i := range recordsPerSave + 2 {
				if !yield(labelledRecord(fmt.Sprintf("r%d", i)), nil) {
					return
				}
			}
			if err != nil {
				yield(Record{}, err)
			}
		}
	}
	if err := l.Rebuild(ctx, records(broken)); !errors.Is(err, broken) || !strings.Contains(err.Error(), "ledger: rebuild") {
		t.Errorf("error %v", err)
	}
	if p := get[Placements](t)(l.Placements(ctx)); p != (Placements{Production: 1}) {
		t.Errorf("after a broken rebuild there are %+v", p)
	}
	must(t, l.Rebuild(ctx, records(nil)))
	if p := get[Placements](t)(l.Placements(ctx)); p != (Placements{recordsPerSave + 2, recordsPerSave + 2}) {
		t.Errorf("after a rebuild there are %+v", p)
	}
	if n := get[[]Outcome](t)(l.OutcomeTotals(ctx)); len(n) != 1 || n[0].Count != recordsPerSave+2 {
		t.Errorf("totals %v", n)
	}
	if o := get[[]Object](t)(l.ObjectsAfter(ctx, "p", "", 9)); len(o) != 1 || o[0].Key != "class_01/a" {
		t.Errorf("objects %v: want those that the rebuild read", o)
	}
	if o := get[[]Object](t)(l.ObjectsAfter(ctx, "n", "", 9)); len(o) != 0 {
		t.Errorf("objects %v of noisy, which reconcile never lists", o)
	}
	for range l.Staged(ctx) {
		t.Error("something is still staged")
	}
}

// 100,000 labels of months ago: as nanoseconds, their delays exceed 64 bits.
func TestDelaysOfALargeOldBucketAddUp(t *testing.T) {
	ctx, l := t.Context(), open(t)
	const n, year = 2000, 365 * 24 * time.Hour
	var changes []Change
	for i := range n {
		r := WithLabel(Unseen(sample(fmt.Sprint(i), t0, .9)), ForeignLabel{Sample: dg.Sample{LabelledAt: t0.Add(200 * year)}, Label: "Bag"})
		changes = append(changes, Change{ID: r.ID(), Next: &r})
	}
	get[[]bool](t)(l.Apply(ctx, changes...))
	want := int64(n * 200 * (year / time.Second))
	if d := get[Delays](t)(l.LabelDelays(ctx)); d.Total != n || d.Seconds != want {
		t.Errorf("%d delays of %d seconds in all, want %d and %d", d.Total, d.Seconds, n, want)
	}
}
