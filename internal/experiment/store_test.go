package experiment

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

func newTestStore(t testing.TB) *Store {
	t.Helper()
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return NewStore(l)
}

func put(t testing.TB, s *Store, records ...Record) {
	t.Helper()
	for _, r := range records {
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestARecordComesBackAsItWasPut(t *testing.T) {
	s := newTestStore(t)
	trial := Record{ID: "search-1.trial-3", Kind: Trial, Parent: "search-1", State: Running, StartedAt: noon}
	for _, r := range []Record{sampleRecord("a", .9), trial} {
		put(t, s, r, r)
		if got, err := s.Get(t.Context(), r.ID); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, r)
		}
	}
	if err := s.Put(t.Context(), Record{ID: "x"}); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("half a record: %v", err)
	}
	if open, err := s.Unfinished(t.Context()); err != nil || len(open) != 1 || open[0].ID != trial.ID {
		t.Errorf("unfinished %+v, %v", open, err)
	}
	if below, err := s.Children(t.Context(), "search-1", 10); err != nil || len(below) != 1 || below[0].ID != trial.ID {
		t.Errorf("children %+v, %v", below, err)
	}
}

func TestTheMakerOfAVersionIsItsTrainingNotItsEvaluation(t *testing.T) {
	s := newTestStore(t)
	made, judged := sampleRecord("a", .9), sampleRecord("a.evaluation", .9)
	judged.Kind, judged.StartedAt, judged.FinishedAt = Evaluation, noon.Add(time.Hour), time.Time{}
	put(t, s, made, judged)
	if r, err := s.Made(t.Context(), made.Version); err != nil || r.ID != "a" {
		t.Errorf("%+v, %v", r, err)
	}
	for _, v := range []dg.ModelRef{"", "sha256:ff"} {
		if _, err := s.Made(t.Context(), v); !errors.Is(err, dg.ErrNotFound) {
			t.Errorf("version %q: %v", v, err)
		}
	}
}

func TestPeoplesTagsAndNotesOutliveThePipelinesWrites(t *testing.T) {
	s, yes, note := newTestStore(t), "yes", "as good as it gets"
	put(t, s, sampleRecord("a", .9))
	r, err := s.Edit(t.Context(), "a", Change{Tags: map[string]*string{"best": &yes, "baseline": nil}, Note: &note})
	want := map[string]string{"best": "yes", "supplier": "new one"}
	if err != nil || !reflect.DeepEqual(r.Tags, want) || r.Note != note {
		t.Errorf("%+v, %v", r, err)
	}
	again := sampleRecord("a", .95)
	again.Tags, again.Note = nil, ""
	put(t, s, again)
	if r, err := s.Get(t.Context(), "a"); err != nil || !reflect.DeepEqual(r.Tags, want) || r.Note != note || r.Metrics["test_accuracy"] != .95 {
		t.Errorf("%+v, %v", r, err)
	}
	for name, c := range map[string]Change{"a name with a slash": {Tags: map[string]*string{"a/b": &yes}}, "a note of zero bytes": {Note: new(string([]byte{0}))}} {
		if _, err := s.Edit(t.Context(), "a", c); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Edit(t.Context(), "b", Change{}); !errors.Is(err, dg.ErrNotFound) {
		t.Errorf("an unknown record: %v", err)
	}
}

// TestPagesInAnyOrderAreTheWholeList puts many records, some without the figure,
// some with equal ones, and reads them page by page.
func TestPagesInAnyOrderAreTheWholeList(t *testing.T) {
	s, rng := newTestStore(t), rand.New(rand.NewPCG(1, 2))
	var all []Record
	for i := range 60 {
		r := Record{ID: fmt.Sprintf("e%02d", i), Kind: Kinds[i%4], State: Done, StartedAt: noon.Add(time.Duration(rng.IntN(10)) * time.Minute)}
		r.Parameters = map[string]string{"p": []string{"inf", "-Inf", "NaN", "7", "x"}[i%5]}
		r.Note = strings.Repeat("é", 300+i%3) // as long as the order looks, and longer
		if i%5 > 0 {
			r.Metrics = map[string]float64{"m": float64(rng.IntN(6)) / 3}
		}
		all = append(all, r)
	}
	put(t, s, all...)
	for _, sort := range []string{"", "started", "metrics.m", "-metrics.m", "kind", "-id", "params.p", "note"} {
		for _, filter := range []string{"", "kind!=trial", "metrics.m>.5"} {
			o, err := ParseOrder(sort)
			if err != nil {
				t.Fatal(err)
			}
			f, err := ParseFilter(filter)
			if err != nil {
				t.Fatal(err)
			}
			want := slices.DeleteFunc(slices.Clone(all), func(r Record) bool { return !f.Match(r) })
			slices.SortFunc(want, func(a, b Record) int { return o.compare(o.place(&a), o.place(&b)) })
			var got []Record
			q := Query{Filter: f, Order: o, Limit: 7}
			for pages := 0; ; pages++ {
				page, err := s.List(t.Context(), q)
				if err != nil || pages > 20 {
					t.Fatalf("sort %q, page %d: %v", sort, pages, err)
				}
				got = append(got, page.Records...)
				if q.After = page.Next; q.After == "" {
					break
				}
			}
			if len(want) < 10 || !reflect.DeepEqual(got, want) {
				t.Errorf("sort %q, filter %q: %d records, want %d in order", sort, filter, len(got), len(want))
			}
		}
	}
	for name, q := range map[string]Query{"a limit": {Limit: MaxPage + 1}, "a cursor": {After: "x"}, "another cursor": {After: "e30"}} {
		if _, err := s.List(t.Context(), q); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%s that cannot be: %v", name, err)
		}
	}
}

func TestThousandsOfRecordsAreSortedInASecond(t *testing.T) {
	s := newTestStore(t)
	const n = 3 * batch
	for i := range n {
		put(t, s, Record{ID: fmt.Sprintf("e%05d", i), Kind: Train, State: Done, StartedAt: noon.Add(time.Duration(i) * time.Second), Metrics: map[string]float64{"m": float64(i * 7919 % n)}})
	}
	o, err := ParseOrder("-metrics.m")
	if err != nil {
		t.Fatal(err)
	}
	page, err := s.List(t.Context(), Query{Order: o, Limit: 3})
	if err != nil || len(page.Records) != 3 || page.Records[0].Metrics["m"] != n-1 || page.Records[2].Metrics["m"] != n-3 {
		t.Errorf("%+v, %v", page.Records, err)
	}
	count := 0
	for r, err := range s.Export(t.Context(), Filter{}, Order{}, false) {
		if err != nil || (count == 0 && r.ID != fmt.Sprintf("e%05d", n-1)) {
			t.Fatal(r, err)
		}
		count++
	}
	if count != n {
		t.Errorf("%d exported, want %d", count, n)
	}
}

func TestCSVHoldsEveryFieldAndNoFormula(t *testing.T) {
	s := newTestStore(t)
	r := sampleRecord("a", .9)
	r.Note, r.Tags = "=HYPERLINK(\"http://x\")", map[string]string{"delta": "-3", "cmd": "-x"}
	put(t, s, r)
	var b bytes.Buffer
	if err := CSV(&b, s.Export(t.Context(), Filter{}, Order{}, false), nil); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for name, want := range map[string]string{"id": "a", "version": string(r.Version), "metrics.test_accuracy": "0.9", "params.start": "warm", "env.cpus": "2",
		"started": "2026-03-01T12:00:00Z", "seconds": "3600", "note": "'" + r.Note, "tags.delta": "-3", "tags.cmd": "'-x"} {
		if i := slices.Index(rows[0], name); i < 0 || rows[1][i] != want {
			t.Errorf("column %s: want %q in %v", name, want, rows[1])
		}
	}
}

func TestJSONIsReadAsItWasWritten(t *testing.T) {
	s := newTestStore(t)
	var empty bytes.Buffer
	if err := JSON(&empty, s.Export(t.Context(), Filter{}, Order{}, true)); err != nil || !json.Valid(empty.Bytes()) {
		t.Errorf("no records: %q, %v", &empty, err)
	}
	want := []Record{sampleRecord("b", .8), sampleRecord("a", .9)}
	put(t, s, want...)
	var b bytes.Buffer
	if err := JSON(&b, s.Export(t.Context(), Filter{}, Order{}, true)); err != nil {
		t.Fatal(err)
	}
	var got []Record
	for r, err := range ReadJSON(bytes.NewReader(b.Bytes())) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	for _, broken := range []string{"", "[", `[{"id":"../x"}]`, b.String()[:b.Len()-4]} {
		failed := false
		for _, err := range ReadJSON(strings.NewReader(broken)) {
			failed = failed || err != nil
		}
		if !failed {
			t.Errorf("%.20q is read without an error", broken)
		}
	}
}

func TestMLflowsLayout(t *testing.T) {
	s := newTestStore(t)
	judged := Record{ID: "a.evaluation", Kind: Evaluation, Parent: "a", State: Failed, Error: "no store", StartedAt: noon,
		Parameters: map[string]string{"reasons": "two\nlines"}, Tags: map[string]string{"mlflow.user": "mallory"}}
	put(t, s, sampleRecord("a", .9), judged)
	write := func() map[string]string {
		files := map[string]string{}
		err := MLflow(s.Export(t.Context(), Filter{}, Order{}, true), "garments: \"a\"", "file:///elsewhere", func(name string, body []byte) error {
			if _, twice := files[name]; twice {
				t.Errorf("%s is written twice", name)
			}
			files[name] = string(body)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	files := write()
	base := "mlruns/" + experimentID(`garments: "a"`) + "/"
	run, below := base+MLflowRun("a")+"/", base+MLflowRun("a.evaluation")+"/"
	for name, want := range map[string]string{
		run + "params/start":                "warm",
		run + "metrics/test_accuracy":       fmt.Sprintf("%d 0.9 0\n", noon.Add(time.Hour).UnixMilli()),
		run + "metrics/validation_accuracy": fmt.Sprintf("%d 0.8 1\n%d 0.91 2\n%d 0.9 2\n", noon.UnixMilli(), noon.Add(time.Minute).UnixMilli(), noon.Add(time.Hour).UnixMilli()),
		run + "tags/baseline":               "",
		run + "tags/mlflow.note.content":    sampleRecord("a", 0).Note,
		run + "tags/driftgate.env.os":       "linux",
		below + "tags/mlflow.parentRunId":   MLflowRun("a"),
		below + "tags/mlflow.user":          "driftgate",
		below + "params/reasons":            "two lines",
		below + "metrics/":                  "", // without it MLflow does not find the run
		below + "tags/driftgate.error":      "no store",
	} {
		if got, ok := files[name]; !ok || got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	for name, part := range map[string]string{
		base + "meta.yaml":            `name: "garments: \"a\""`,
		run + "meta.yaml":             "status: 3",
		below + "meta.yaml":           "end_time: null",
		run + "artifacts/record.json": `"id": "a"`,
	} {
		if !strings.Contains(files[name], part) {
			t.Errorf("%s lacks %q:\n%s", name, part, files[name])
		}
	}
	if again := write(); !reflect.DeepEqual(again, files) {
		t.Error("the same records give other files")
	}
	stop := errors.New("disk full")
	if err := MLflow(s.Export(t.Context(), Filter{}, Order{}, true), "m", "", func(string, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a write that fails: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := MLflow(s.Export(ended, Filter{}, Order{}, true), "m", "", func(string, []byte) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a read that fails: %v", err)
	}
}
