package labelling

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

func reader(s string) io.Reader { return strings.NewReader(s) }

// labelled gives l what export is to find: two labelled samples and others.
func labelled(t testing.TB, l *ledger.Ledger) *Service {
	t.Helper()
	s := desk(t, l, 4)
	for _, a := range []ledger.Answer{{ID: "00", Label: "Bag", At: noon.Add(time.Hour)}, {ID: "02", Label: "Trouser", At: noon.Add(2 * time.Hour)}} {
		if err := l.Collected(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestExportHasOneRowALabelledSample(t *testing.T) {
	s := labelled(t, openLedger(t))
	var out bytes.Buffer
	if n, err := s.Export(t.Context(), &out, CSV); err != nil || n != 2 {
		t.Fatalf("%d rows: %v", n, err)
	}
	want := `id,key,predicted_class,confidence,timestamp,label,labelled_at,label_source,stratum,sampling_fraction,model_version,correct,votes
00,class_01/00,Trouser,0.5,2026-03-01T12:00:00Z,Bag,2026-03-01T13:00:00Z,human,low_confidence,1,,false,
02,class_01/02,Trouser,0.5,2026-03-01T12:00:02Z,Trouser,2026-03-01T14:00:00Z,human,low_confidence,1,,true,
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
	out.Reset()
	if n, err := s.Export(t.Context(), &out, JSON); err != nil || n != 2 {
		t.Fatalf("%d rows: %v", n, err)
	}
	var rows []map[string]any
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil || len(rows) != 2 {
		t.Fatalf("%s: %v", out.String(), err)
	}
	for _, column := range exportColumns {
		if _, ok := rows[0][column]; !ok {
			t.Errorf("JSON has no %s", column)
		}
	}
	if _, err := s.Export(t.Context(), &out, "xml"); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("xml: %v", err)
	}
}

func TestExportOfNothingAndOfMissingValues(t *testing.T) {
	l := openLedger(t)
	s := desk(t, l, 0)
	for format, want := range map[string]string{CSV: strings.Join(exportColumns, ",") + "\n", JSON: "[\n]\n"} {
		var out bytes.Buffer
		if n, err := s.Export(t.Context(), &out, format); err != nil || n != 0 || out.String() != want {
			t.Errorf("%s: %d, %q, %v", format, n, out.String(), err)
		}
	}
	foreign := dg.Sample{Key: "class_01/x,\"y\".jpg", PredictedClass: "Bag", Confidence: math.NaN(), Timestamp: noon}
	if err := l.SetForeignLabel(t.Context(), foreign, "Trouser"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := s.Export(t.Context(), &out, CSV); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || rows[1][0] != `x,"y".jpg` || rows[1][3] != "" || rows[1][6] != "" {
		t.Errorf("rows %q: %v", rows, err)
	}
	if _, err := s.Export(t.Context(), &out, JSON); err != nil || !strings.Contains(out.String(), `"confidence":null`) {
		t.Errorf("%s: %v", out.String(), err)
	}
}

// TestRoundTrip: what one ledger exports gives another the same answers, and
// the ledger itself nothing new.
func TestRoundTrip(t *testing.T) {
	for _, format := range []string{CSV, JSON} {
		t.Run(format, func(t *testing.T) {
			from := labelled(t, openLedger(t))
			var out bytes.Buffer
			if _, err := from.Export(t.Context(), &out, format); err != nil {
				t.Fatal(err)
			}
			l := openLedger(t)
			to := desk(t, l, 4)
			r, err := to.Import(t.Context(), bytes.NewReader(out.Bytes()), format, "ann")
			if err != nil || r.Rows != 2 || r.Imported != 2 || r.Already != 0 {
				t.Fatalf("%+v: %v", r, err)
			}
			answers, err := l.Answers(t.Context(), endOfTime)
			if err != nil || len(answers) != 2 {
				t.Fatalf("answers %v: %v", answers, err)
			}
			if a := answers[0]; a.ID != "00" || a.Label != "Bag" || a.Annotator != "ann" || !a.At.Equal(noon.Add(time.Hour)) || a.Source != dg.HumanLabel {
				t.Errorf("answer %+v", a)
			}
			for i, s := range []*Service{to, from} {
				if r, err := s.Import(t.Context(), bytes.NewReader(out.Bytes()), format, "ann"); err != nil || r.Imported != 0 || r.Already != 2 {
					t.Errorf("import %d again: %+v, %v", i, r, err)
				}
			}
			for _, a := range answers {
				if err := l.Collected(t.Context(), a); err != nil {
					t.Fatal(err)
				}
			}
			var again bytes.Buffer
			if _, err := to.Export(t.Context(), &again, format); err != nil || again.String() != out.String() {
				t.Errorf("exported %s, then %s: %v", out.String(), again.String(), err)
			}
		})
	}
}

func TestImportReportsEveryBadRowAndWritesNothing(t *testing.T) {
	l := openLedger(t)
	s := labelled(t, l)
	if err := l.Captured(t.Context(), dg.Sample{Key: "class_01/unpicked", Timestamp: noon}); err != nil {
		t.Fatal(err)
	}
	const future = "2999-01-01T00:00:00Z"
	for _, tt := range []struct {
		name, format, text string
		want               []string // LINE: part of the problem
	}{
		{"CSV", CSV, "id,label,labelled_at,annotator\n01,Bag,,\n99,Bag,,\n03,Banana,,\n03,Bag,yesterday,\n03,Bag," + future + ",\n,Bag,,\n01,Coat,,\n00,Coat,,\nunpicked,Bag,,\n03,Bag\n03,Bag,," + strings.Repeat("x", 65) + "\n",
			[]string{`3: no such sample`, `4: label "Banana"`, `5: labelled_at "yesterday"`, `6: labelled_at "2999`, `7: no id`, `8: the same sample as on line 2`,
				`9: labelled "Bag" already`, `10: not picked`, `11: want 4 columns`, `12: annotator`}},
		{"key and id of two samples", CSV, "id,key,label\n01,class_01/03,Bag\n", []string{`2: not the same sample`}},
		{"a quote too many", CSV, "id,label\n\"01\"x,Bag\n03,Banana\n", []string{`2: want 2 columns`, `3: label "Banana"`}},
		{"JSON", JSON, "[\n{\"id\":\"01\",\"label\":\"Bag\"},\n{\"id\":7},\n\n  {\"key\":\"class_01/99\",\"label\":\"Bag\"}, \"x\"]", []string{`3: id is a number`, `5: a string`, `5: no such sample`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := s.Import(t.Context(), reader(tt.text), tt.format, "ann")
			if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), "nothing was imported") {
				t.Fatalf("error %v", err)
			}
			if len(r.Bad) != len(tt.want) || r.Imported != 0 {
				t.Fatalf("report %+v", r)
			}
			for i, want := range tt.want {
				line, part, _ := strings.Cut(want, ": ")
				if b := r.Bad[i]; fmt.Sprint(b.Line) != line || !strings.Contains(b.Problem, part) {
					t.Errorf("bad row %+v, want %q", b, want)
				}
			}
			if answers, err := l.Answers(t.Context(), endOfTime); err != nil || len(answers) != 0 {
				t.Errorf("answers %v: %v", answers, err)
			}
		})
	}
}

func TestImportRefusesWhatIsNoTable(t *testing.T) {
	s := desk(t, openLedger(t), 1)
	for _, tt := range []struct{ name, format, text, annotator, says string }{
		{"empty CSV", CSV, "", "ann", "no header"},
		{"no label column", CSV, "id,class\n00,Bag\n", "ann", "want id or key, label"},
		{"no id column", CSV, "label\nBag\n", "ann", "want id or key, label"},
		{"empty JSON", JSON, "", "ann", "JSON array"},
		{"JSON object", JSON, `{"id":"00"}`, "ann", "JSON array"},
		{"JSON cut off", JSON, "[\n{\"id\":\"00\",\n", "ann", "line"},
		{"array not closed", JSON, "[\n{\"id\":\"00\",\"label\":\"Bag\"}\n", "ann", "line"},
		{"unknown format", "xlsx", "", "ann", "want csv or json"},
		{"no annotator", CSV, "id,label\n00,Bag\n", "", "annotator"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if r, err := s.Import(t.Context(), reader(tt.text), tt.format, tt.annotator); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), tt.says) || r.Imported != 0 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestImportTakesSpreadsheetHabits(t *testing.T) {
	l := openLedger(t)
	s := desk(t, l, 2)
	r, err := s.Import(t.Context(), reader("\xef\xbb\xbfLabel, Key ,note\r\nBag,class_01/00,\"two\nlines\"\r\nNoodles,class_01/01,\r\n"), CSV, "ann")
	if !errors.Is(err, dg.ErrInvalid) || len(r.Bad) != 1 || r.Bad[0].Line != 4 || r.Bad[0].ID != "01" {
		t.Errorf("%+v: %v", r, err)
	}
	if r, err = s.Import(t.Context(), reader("\xef\xbb\xbfLabel, Key ,note\r\nBag,class_01/00,\r\nBag,class_01/01,\r\n"), CSV, "ann"); err != nil || r.Imported != 2 {
		t.Errorf("%+v: %v", r, err)
	}
}

func TestImportThatFailsHalfwayTakesBackItsAnswers(t *testing.T) {
	w := golden(t)
	w.curate(halfHour, false)
	w.answer("low.png", "Coat")
	s, _ := w.crashing(1, false)
	_, err := s.Import(t.Context(), reader("id,label\nlow.png,Bag\nflagged.png,Bag\n"), CSV, "ann")
	if !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	// The crash also hit the taking back; a plain failure does not.
	once := &failOnce{Ledger: w.ledger, at: 2}
	s = New(w.o, w.store, once, w.buckets)
	w.answer("low.png", "Coat")
	if _, err := s.Import(t.Context(), reader("id,label\nlow.png,Bag\nlowflagcorr.png,Bag\n"), CSV, "ann"); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	answers, err := w.ledger.Answers(t.Context(), endOfTime)
	if err != nil || len(answers) != 1 || answers[0].Label != "Coat" {
		t.Errorf("answers %+v: %v", answers, err)
	}
}

// failOnce fails the at-th Answer only.
type failOnce struct {
	Ledger
	at int
}

func (l *failOnce) Answer(ctx context.Context, a ledger.Answer) error {
	if l.at--; l.at == 0 {
		return errCrash
	}
	return l.Ledger.Answer(ctx, a)
}
