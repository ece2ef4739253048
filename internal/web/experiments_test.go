package web

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"driftgate/internal/experiment"
	"driftgate/internal/ledger"
)

// experimentServer is a gateway with some experiments, and their store.
func experimentServer(t testing.TB) (*server, *experiment.Store) {
	t.Helper()
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	store := experiment.NewStore(l)
	curve := func(n int, from, to float64) (out []experiment.Point) {
		for e := 1; e <= n; e++ {
			out = append(out, experiment.Point{Step: e, Value: to - (to-from)/float64(e)})
		}
		return out
	}
	day := 24 * time.Hour
	base := experiment.Record{ID: "train-garments-0a1b2c3d", Kind: experiment.Train, State: experiment.Done, Version: oldRef, StartedAt: testNow.Add(-20 * day), FinishedAt: testNow.Add(-20*day + 83*time.Second),
		Parameters: map[string]string{"start": "scratch", "epochs": "10", "learning_rate": "0.001", "dataset": "synthetic@9c2f0e6b1d44"}, Metrics: map[string]float64{"test_accuracy": .8912, "validation_accuracy": .884},
		Curves:      map[string][]experiment.Point{"validation_accuracy": curve(10, .71, .90), "train_accuracy": curve(10, .65, .95), "validation_loss": curve(10, .9, .31), "train_loss": curve(10, 1.1, .12), "learning_rate": curve(10, .001, .0001)},
		Environment: map[string]string{"os": "linux", "cpus": "2", "go_version": "go1.26"}, Tags: map[string]string{"baseline": ""}, Note: "the <b>first</b> one"}
	warm := base
	warm.ID, warm.Kind, warm.Parent, warm.Version, warm.Verdict = knownRun, experiment.Retrain, base.ID, champRef, "promote"
	warm.StartedAt, warm.FinishedAt = testNow.Add(-6*day), testNow.Add(-6*day+74*time.Second)
	warm.Parameters = map[string]string{"start": "warm", "epochs": "10", "learning_rate": "0.0005", "dataset": "synthetic@9c2f0e6b1d44"}
	warm.Metrics, warm.Tags, warm.Note = map[string]float64{"test_accuracy": .9021, "validation_accuracy": .897, "set.labelling.human": 412}, nil, ""
	judged := experiment.Record{ID: knownRun + ".evaluation", Kind: experiment.Evaluation, Parent: knownRun, RunID: knownRun, Version: champRef, State: experiment.Done, Verdict: "promote", StartedAt: testNow.Add(-6*day + 80*time.Second), FinishedAt: testNow.Add(-6*day + 82*time.Second),
		Metrics: map[string]float64{"difference": .067, "difference_lower": .031, "difference_upper": .104, "pairs": 412}}
	failed := experiment.Record{ID: "retrain-garments-77d0e2", Kind: experiment.Retrain, Parent: base.ID, State: experiment.Failed, Error: "trainer: child: killed", StartedAt: testNow.Add(-7 * day), FinishedAt: testNow.Add(-7*day + 21*time.Second),
		Parameters: map[string]string{"start": "head"}, Curves: map[string][]experiment.Point{"train_accuracy": curve(1, .5, .5)}}
	for _, r := range []experiment.Record{base, warm, judged, failed} {
		if err := store.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	d := newFake().deps()
	d.Experiments = store
	s, err := newServer(d, Options{Model: "garments", Token: testToken, Version: "0.1.0", RatePerSecond: -1, Now: func() time.Time { return testNow }})
	if err != nil {
		t.Fatal(err)
	}
	return s, store
}

func fetch(t *testing.T, s *server, target string, want int) string {
	t.Helper()
	w := do(s, "GET", target, bearer(testToken), header("Accept", "text/html"))
	if w.Code != want {
		t.Fatalf("%s: %d, want %d: %s", target, w.Code, want, w.Body)
	}
	return w.Body.String()
}

func TestTheExperimentsPageIsWhatItsAddressSays(t *testing.T) {
	s, _ := experimentServer(t)
	page := fetch(t, s, "/experiments", 200)
	wants(t, page, `href="/experiments/`+knownRun+`"`, `href="/models/`+champRef.Short()+`"`, "0.9021", "validation accuracy over 10 epochs", `tag-failed">failed`, "baseline", `aria-sort="descending"`)
	page = fetch(t, s, "/experiments?filter="+url.QueryEscape("metrics.test_accuracy>.9 params.start=warm")+"&columns=params.start,metrics.difference&sort=-metrics.test_accuracy", 200)
	wants(t, page, knownRun, "warm", `value="metrics.test_accuracy&gt;.9 params.start=warm"`, `name="columns" value="params.start,metrics.difference"`)
	if strings.Contains(page, "train-garments-0a1b2c3d") {
		t.Error("a record that does not pass the filter is shown")
	}
	for _, column := range []string{"sort=metrics.difference", "sort=-metrics.difference"} {
		if page := fetch(t, s, "/experiments?columns=metrics.difference&"+column, 200); strings.Index(page, "retrain-garments-1.evaluation") > strings.Index(page, "train-garments-0a1b2c3d") {
			t.Errorf("%s: a record without the figure stands before the one with it", column)
		}
	}
	page = fetch(t, s, "/experiments?filter="+url.QueryEscape(`<script>`), 422)
	if wants(t, page, "want terms such as"); strings.Contains(page, "<script>") || strings.Contains(page, "None passes") {
		t.Error("the filter is not escaped, or said to have been used")
	}
	wants(t, fetch(t, s, "/experiments?filter=tag:none", 200), "None passes the filter")
}

func TestAnExperimentsPageShowsCurvesLineageAndWhatPeopleWrote(t *testing.T) {
	s, store := experimentServer(t)
	page := fetch(t, s, "/experiments/"+knownRun, 200)
	wants(t, page, "accuracy over epochs 1 to 10: validation accuracy from", "loss over epochs 1 to 10", "learning rate", `href="/experiments/train-garments-0a1b2c3d"`, `href="/experiments/`+knownRun+`.evaluation"`,
		`href="/models/`+champRef.Short()+`"`, "set.labelling.human", "go_version", "0.0005")
	page = fetch(t, s, "/experiments/train-garments-0a1b2c3d", 200)
	if wants(t, page, "baseline"); !strings.Contains(page, "the &lt;b&gt;first&lt;/b&gt; one") {
		t.Error("the note is not escaped")
	}
	wants(t, fetch(t, s, "/experiments/retrain-garments-77d0e2", 200), "trainer: child: killed")
	fetch(t, s, "/experiments/nothing", 404)

	post := func(values url.Values) int {
		body, kind := form(values)
		return send(s, "POST", "/experiments/"+knownRun, body, kind, bearer(testToken)).Code
	}
	if code := post(url.Values{"tag": {" supplier = new one "}}); code != http.StatusSeeOther {
		t.Errorf("a tag: %d", code)
	}
	if code := post(url.Values{"note": {"good\r\nenough"}}); code != http.StatusSeeOther {
		t.Errorf("a note: %d", code)
	}
	if r, err := store.Get(t.Context(), knownRun); err != nil || r.Tags["supplier"] != "new one" || r.Note != "good\nenough" {
		t.Errorf("%v %q, %v", r.Tags, r.Note, err)
	}
	if code := post(url.Values{"untag": {"supplier"}}); code != http.StatusSeeOther {
		t.Errorf("off: %d", code)
	}
	if r, err := store.Get(t.Context(), knownRun); err != nil || len(r.Tags) != 0 || r.Note != "good\nenough" {
		t.Errorf("%v %q, %v", r.Tags, r.Note, err)
	}
	if code := post(url.Values{"tag": {"a/b"}}); code != http.StatusUnprocessableEntity {
		t.Errorf("a tag that is none: %d", code)
	}
}

func TestExperimentsOverTheAPI(t *testing.T) {
	s, _ := experimentServer(t)
	list := decoded[experimentList](t, do(s, "GET", "/api/v1/experiments?limit=2&sort=started", bearer(testToken)))
	if len(list.Experiments) != 2 || list.Experiments[0].ID != "train-garments-0a1b2c3d" || list.Next == "" || list.Experiments[0].Curves != nil {
		t.Fatalf("%+v", list)
	}
	rest := decoded[experimentList](t, do(s, "GET", "/api/v1/experiments?sort=started&after="+list.Next, bearer(testToken)))
	if len(rest.Experiments) != 2 || rest.Next != "" || rest.Experiments[1].ID != knownRun+".evaluation" {
		t.Errorf("%+v", rest)
	}
	rows := decoded[experimentList](t, do(s, "GET", "/api/v1/experiments?filter=kind%3Devaluation&columns=metrics.pairs,params.start", bearer(testToken)))
	if want := []map[string]any{{"id": knownRun + ".evaluation", "metrics.pairs": 412., "params.start": nil}}; fmt.Sprint(rows.Rows) != fmt.Sprint(want) || rows.Experiments != nil {
		t.Errorf("rows %v, want %v", rows.Rows, want)
	}
	one := decoded[experiment.Record](t, do(s, "GET", "/api/v1/experiments/"+knownRun, bearer(testToken)))
	if len(one.Curves["validation_accuracy"]) != 10 || one.Metrics["test_accuracy"] != .9021 {
		t.Errorf("%+v", one)
	}
	patched := decoded[experiment.Record](t, send(s, "PATCH", "/api/v1/experiments/"+knownRun, `{"tags":{"best":""},"untag":["baseline"],"note":"n"}`, header("Content-Type", "application/json"), bearer(testToken)))
	if _, ok := patched.Tags["best"]; !ok || patched.Note != "n" {
		t.Errorf("%+v", patched)
	}
	for target, want := range map[string]int{"/api/v1/experiments?filter=kind": 422, "/api/v1/experiments?sort=x": 422, "/api/v1/experiments?columns=x": 422, "/api/v1/experiments?after=x": 422,
		"/api/v1/experiments/none": 404, "/api/v1/experiments/export?as=xml": 422, "/api/v1/experiments/export?as=csv&filter=x": 422} {
		if w := do(s, "GET", target, bearer(testToken)); w.Code != want {
			t.Errorf("%s: %d, want %d: %s", target, w.Code, want, w.Body)
		}
	}
	for _, r := range [][2]string{{"GET", "/api/v1/experiments"}, {"GET", "/api/v1/experiments/" + knownRun}, {"PATCH", "/api/v1/experiments/" + knownRun}, {"GET", "/api/v1/experiments/export?as=csv"}, {"POST", "/experiments/" + knownRun}} {
		if w := do(s, r[0], r[1]); w.Code != http.StatusUnauthorized {
			t.Errorf("%s %s without the token: %d", r[0], r[1], w.Code)
		}
	}
	if w := do(testServer(t, newFake()), "GET", "/api/v1/experiments", bearer(testToken)); w.Code != http.StatusNotImplemented {
		t.Errorf("a gateway that keeps none: %d", w.Code)
	}
}

func TestExperimentsAsFiles(t *testing.T) {
	s, _ := experimentServer(t)
	get := func(query string) []byte {
		t.Helper()
		w := do(s, "GET", "/api/v1/experiments/export?"+query, bearer(testToken))
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment; ") {
			t.Fatalf("%s: %d %v", query, w.Code, w.Header())
		}
		return w.Body.Bytes()
	}
	rows, err := csv.NewReader(bytes.NewReader(get("as=csv&columns=id,metrics.pairs&filter=kind%3Devaluation"))).ReadAll()
	if err != nil || fmt.Sprint(rows) != "[[id metrics.pairs] ["+knownRun+".evaluation 412]]" {
		t.Errorf("CSV %v, %v", rows, err)
	}
	var records []experiment.Record
	if err := json.Unmarshal(get("as=json"), &records); err != nil || len(records) != 4 || len(records[0].ID) == 0 {
		t.Errorf("JSON %+v, %v", records, err)
	}
	b := get("as=mlflow")
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range z.File {
		found = found || strings.HasSuffix(f.Name, experiment.MLflowRun(knownRun)+"/metrics/test_accuracy")
	}
	if !found {
		t.Errorf("the archive's %d files lack the run's metric", len(z.File))
	}
}

func TestCurvesAreDrawnWithinTheirBox(t *testing.T) {
	for name, curve := range map[string][]experiment.Point{
		"one point": {{Step: 3, Value: .5}}, "flat": {{Step: 1, Value: 0}, {Step: 2, Value: 0}}, "tiny": {{Step: 1, Value: 1e-9}, {Step: 2, Value: 2e-9}},
		"negative": {{Step: 1, Value: -5}, {Step: 9000, Value: 12}}, "huge": {{Step: 1, Value: -1e300}, {Step: 2, Value: 1e300}},
	} {
		for _, c := range curveCharts(experiment.Record{Curves: map[string][]experiment.Point{"x": curve}}) {
			if len(c.YTicks) < 2 || len(c.YTicks) > 13 || len(c.XTicks) > 13 || len(c.XTicks) < 1 || strings.Contains(c.Lines[0].Path, "NaN") || strings.Contains(c.Lines[0].Path, "Inf") {
				t.Errorf("%s: %+v", name, c)
			}
			for _, tick := range append(c.YTicks, c.XTicks...) {
				if !(tick.At >= 0 && tick.At <= c.Width) {
					t.Errorf("%s: tick %+v lies outside", name, tick)
				}
			}
		}
	}
	if charts := curveCharts(experiment.Record{}); len(charts) != 0 || sparkOf(experiment.Record{}).Visible {
		t.Errorf("without curves: %+v", charts)
	}
}
