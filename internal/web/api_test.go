package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/ledger"
)

func api(s *server, method, route, body string, change ...func(*http.Request)) (int, string) {
	w := send(s, method, apiBase+route, body, append(change, bearer(testToken), header("Content-Type", "application/json"))...)
	return w.Code, w.Body.String()
}

func TestAPIAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, method, route, body string
		status                    int
		says                      string // part of the answer
	}{
		{"status", "GET", "/status", "", 200, `"captured":12345`},
		{"accuracy", "GET", "/accuracy?window=7d", "", 200, `"estimator":"stratified"`},
		{"accuracy at a time", "GET", "/accuracy?window=30m&at=2026-03-01T00:00:00Z", "", 200, `"end":"2026-03-01T00:00:00Z"`},
		{"accuracy of one version", "GET", "/accuracy?version=" + string(oldRef), "", 200, `"model_version":"` + oldRef.Short()},
		{"accuracy of all versions", "GET", "/accuracy?version=all", "", 200, `"predictions":6300`},
		{"accuracy of no window", "GET", "/accuracy?window=soon", "", 422, "soon"},
		{"accuracy at no time", "GET", "/accuracy?at=yesterday", "", 422, "RFC 3339"},
		{"a parameter nobody knows", "GET", "/accuracy?windw=7d", "", 422, "windw"},
		{"accuracy with its gap and slices", "GET", "/accuracy?window=7d", "", 200, `"gap":{"difference":-0.009`},
		{"accuracy by class", "GET", "/accuracy?window=7d&by=class", "", 200, `"by":"class","value":"T-shirt/top"`},
		{"accuracy by nothing", "GET", "/accuracy?window=7d&by=colour", "", 422, "by"},
		{"a plan", "GET", "/plan?window=24h&half_width=0.04", "", 200, `"per_day":103`},
		{"a plan for ±2 points", "GET", "/plan?half_width=2", "", 422, "want a ratio between 0 and 1, as 0.02"},
		{"a plan beyond reach", "GET", "/plan?half_width=0.001", "", 422, "the best is 0.0093"},
		{"a plan for no window", "GET", "/plan?window=soon", "", 422, "soon"},
		{"replay", "GET", "/accuracy/replay?start=2026-03-01T00:00:00Z&end=2026-03-02T00:00:00Z", "", 200, `"windows":1200,"slots":96,"from":"2026-03-01T00:00:00Z","to":"2026-03-02T00:00:00Z"`},
		{"replay of all that is kept", "GET", "/accuracy/replay", "", 200, `"windows":1200,"slots":96}`},
		{"replay until now", "GET", "/accuracy/replay?start=2026-03-14T00:00:00Z", "", 200, `"to":"2026-03-14T15:00:00Z"`},
		{"replay backwards", "GET", "/accuracy/replay?start=2026-03-02T00:00:00Z&end=2026-03-01T00:00:00Z", "", 422, "before end"},
		{"replay of no time", "GET", "/accuracy/replay?start=monday", "", 422, "RFC 3339"},
		{"runs", "GET", "/runs?pipeline=retrain&limit=2", "", 200, `"pipeline":"retrain"`},
		{"runs of any pipeline", "GET", "/runs?pipeline=&limit=20", "", 200, "curate"},
		{"a run", "GET", "/runs/" + knownRun, "", 200, `"result":{"verdict":"promote"`},
		{"an unknown run", "GET", "/runs/none", "", 404, "none"},
		{"a retraining", "POST", "/runs", `{"reason":"spring"}`, 202, `"run":"` + knownRun},
		{"another pipeline", "POST", "/runs", `{"pipeline":"collect"}`, 202, `"run":"collect-manual-1"`},
		{"no pipeline", "POST", "/runs", `{"pipeline":"nonsense"}`, 422, "nonsense"},
		{"a field nobody knows", "POST", "/runs", `{"resaon":"x"}`, 422, "resaon"},
		{"wrong JSON", "POST", "/runs", `{"reason":`, 400, "unexpected end"},
		{"a reason too long", "POST", "/runs", `{"reason":"` + strings.Repeat("x", 600) + `"}`, 422, "500 characters"},
		{"cancel", "POST", "/runs/" + knownRun + "/cancel", "", 202, ""},
		{"cancel an unknown run", "POST", "/runs/none/cancel", "", 404, "none"},
		{"backfill", "POST", "/runs/backfill", `{"pipeline":"curate","start":"2026-03-01T00:00:00Z","end":"2026-03-01T03:00:00Z"}`, 202, `"curate-2026-03-01T02:00:00Z"`},
		{"backfill backwards", "POST", "/runs/backfill", `{"pipeline":"curate","start":"2026-03-02T00:00:00Z","end":"2026-03-01T03:00:00Z"}`, 422, "before end"},
		{"curate the last half hour", "POST", "/curate", `{"last":"30m"}`, 200, `"start":"2026-03-14T14:30:00Z"`},
		{"curate an interval", "POST", "/curate", `{"start":"2026-03-01T00:00:00Z","end":"2026-03-01T01:00:00Z"}`, 200, `"candidates":16`},
		{"curate nothing", "POST", "/curate", `{}`, 422, "want last, or start and end"},
		{"curate both", "POST", "/curate", `{"last":"1h","start":"2026-03-01T00:00:00Z","end":"2026-03-01T01:00:00Z"}`, 422, "not both"},
		{"collect", "POST", "/collect", "", 200, "85.71% (6/7)"},
		{"train", "POST", "/train", `{"dataset":"x@1","promote":true,"options":{"epochs":3}}`, 202, `"run":"train-1"`},
		{"ingest", "POST", "/ingest", `{"source":"synthetic","seed":1,"train":100,"test":10,"size":0,"data":""}`, 200, "synthetic@"},
		{"ingest of no source", "POST", "/ingest", `{"source":"imagenet"}`, 422, "synthetic"},
		{"models", "GET", "/models", "", 200, `"role":"champion"`},
		{"compare", "GET", "/compare?a=champion&b=" + freshRef.Short(), "", 200, `"verdict":"promote"`},
		{"compare with itself", "GET", "/compare?a=champion&b=" + champRef.Short(), "", 422, "itself"},
		{"compare with nothing", "GET", "/compare?a=champion&b=none", "", 404, "none"},
		{"evaluate", "POST", "/evaluate", `{"challenger":"` + freshRef.Short() + `"}`, 200, `"pairs":412`},
		{"promote", "POST", "/promote", `{"ref":"` + freshRef.Short() + `","reason":"x"}`, 200, `"generation":3`},
		{"promote the champion", "POST", "/promote", `{"ref":"champion"}`, 409, "already"},
		{"promote nothing", "POST", "/promote", `{"ref":"none"}`, 404, "none"},
		{"rollback", "POST", "/rollback", `{"reason":"x"}`, 200, `"generation":3`},
		{"rollout", "GET", "/rollout", "", 200, `"move":"stay","why":"the fresh champion is watched"`},
		{"a canary", "POST", "/expose", `{"ref":"` + freshRef.Short() + `","stage":"canary","share":0.05,"reason":"carefully"}`, 200, `"stage":"canary","share":0.05,"step":-1`},
		{"a canary is a person's", "POST", "/expose", `{"ref":"` + freshRef.Short() + `","stage":"shadow","reason":"carefully"}`, 200, `"reason":"person: carefully"`},
		{"a canary without a share", "POST", "/expose", `{"ref":"` + freshRef.Short() + `","stage":"canary"}`, 422, "want over 0"},
		{"a shadow with a share", "POST", "/expose", `{"ref":"` + freshRef.Short() + `","stage":"shadow","share":0.5}`, 422, "want none"},
		{"a canary of percents", "POST", "/expose", `{"ref":"` + freshRef.Short() + `","stage":"canary","share":5}`, 422, "share"},
		{"another stage", "POST", "/expose", `{"ref":"` + freshRef.Short() + `","stage":"blue"}`, 422, "shadow"},
		{"the champion as canary", "POST", "/expose", `{"ref":"champion","stage":"canary","share":0.5}`, 409, "already"},
		{"nothing as canary", "POST", "/expose", `{"ref":"none","stage":"canary","share":0.5}`, 404, "none"},
		{"the end of nothing", "POST", "/expose/end", `{}`, 409, "nothing is exposed"},
		{"moves", "GET", "/moves", "", 200, `"kind":"promotion","version":"` + champRef.Short()},
		{"rollback of what is seen", "POST", "/rollback", `{"from":"` + champRef.Short() + `"}`, 200, `"generation":3`},
		{"rollback of what serves no more", "POST", "/rollback", `{"from":"` + freshRef.Short() + `"}`, 409, "look again"},
		{"triggers", "GET", "/triggers", "", 200, `"decision":"joined"`},
		{"rebuild", "POST", "/ledger/rebuild", "", 200, `"entered":7`},
		{"check", "GET", "/check", "", 200, `"ok":true`},
		{"tasks", "GET", "/labels/tasks?n=3", "", 200, `"predicted_class":"Dress"`},
		{"a task without a confidence", "GET", "/labels/tasks?n=3", "", 200, `"confidence":null`},
		{"too many tasks", "GET", "/labels/tasks?n=1000", "", 422, "100"},
		{"a label", "POST", "/labels", `{"id":"a.png","label":"Coat","annotator":"e2e"}`, 204, ""},
		{"a label without an image", "POST", "/labels", `{"label":"Coat"}`, 422, "id"},
		{"skip", "POST", "/labels/skip", `{"id":"a.png"}`, 204, ""},
		{"undo", "POST", "/labels/undo", "", 200, `"id":"0e5cf5b4`},
		{"progress", "GET", "/labels/progress", "", 200, `"labelled":1289`},
		{"export", "GET", "/labels/export?format=csv", "", 200, "a.png,Dress"},
		{"export as nothing", "GET", "/labels/export?format=xml", "", 422, "csv"},
		{"import", "POST", "/labels/import?format=csv&annotator=eve", "id,label\na,b\n", 200, `"rows":2`},
		{"a bad annotator", "POST", "/labels/undo?annotator=%3Cscript%3E", "", 422, "annotator"},
		{"an unknown route", "GET", "/nothing", "", 404, "nothing at"},
		{"another method", "GET", "/collect", "", 405, "GET is not for"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change := header("X", "y")
			if tt.name == "import" {
				change = header("Content-Type", "application/octet-stream")
			}
			s := testServer(t, newFake())
			w := send(s, tt.method, apiBase+tt.route, tt.body, header("Content-Type", "application/json"), bearer(testToken), change)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("%d %s\nwant %d with %q", w.Code, w.Body, tt.status, tt.says)
			}
			if kind := w.Header().Get("Content-Type"); tt.status >= 400 && kind != "application/problem+json" {
				t.Errorf("error as %s, want application/problem+json", kind)
			}
		})
	}
}

func TestAPILabelsKeepWhoGaveThem(t *testing.T) {
	f := newFake()
	s := testServer(t, f)
	for want, change := range map[string]func(*http.Request){"eve": header("X-Annotator", "eve"), "api": header("X", "y")} {
		if code, body := api(s, "POST", "/labels", `{"id":"a.png","label":"Coat"}`, change); code != 204 || f.labels["who"] != want {
			t.Errorf("%d %s by %q, want %q", code, body, f.labels["who"], want)
		}
	}
	if code, _ := api(s, "POST", "/labels", `{"id":"a.png","label":"Coat","annotator":"adam"}`); code != 204 || f.labels["who"] != "adam" {
		t.Errorf("%d by %q, want adam", code, f.labels["who"])
	}
}

func TestAPIBusyNamesTheRunUnderWay(t *testing.T) {
	f := newFake()
	f.decision = dg.Busy
	w := send(testServer(t, f), "POST", apiBase+"/runs", `{}`, bearer(testToken))
	if p := decoded[Problem](t, w); w.Code != http.StatusLocked || p.RunID != "retrain-garments-8f2c1a" {
		t.Errorf("%d %+v", w.Code, p)
	}
}

func TestAPIBoundsBodies(t *testing.T) {
	body := `{"reason":"` + strings.Repeat("x", maxJSONBytes) + `"}`
	if code, answer := api(testServer(t, newFake()), "POST", "/runs", body); code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s, want 413", code, clip(answer, 200))
	}
}

func TestAnExportThatBreaksDoesNotLookWhole(t *testing.T) {
	f := newFake()
	f.err = errors.New("bucket gone")
	s := testServer(t, f)
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
			t.Errorf("the handler ended with %v, want http.ErrAbortHandler, which cuts the connection", err)
		}
	}()
	api(s, "GET", "/labels/export", "")
}

func TestAGatewayWithoutAServiceSaysSo(t *testing.T) {
	d := newFake().deps()
	d.Compare, d.Ingest, d.Rebuild, d.Check, d.Pipelines, d.Reload = nil, nil, nil, nil, nil, nil
	s, err := newServer(d, Options{Model: "garments", Token: testToken})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range [][3]string{{"GET", "/compare?a=champion&b=previous", ""}, {"POST", "/ingest", `{"source":"synthetic"}`}, {"POST", "/ledger/rebuild", ""},
		{"GET", "/check", ""}, {"POST", "/train", `{}`}, {"POST", "/runs/x/cancel", ""}} {
		if code, body := api(s, tt[0], tt[1], tt[2]); code != http.StatusNotImplemented {
			t.Errorf("%s %s: %d %s, want 501", tt[0], tt[1], code, body)
		}
	}
}

func TestDepsMustBeThere(t *testing.T) {
	if _, err := New(Deps{}, Options{Model: "garments", Token: testToken}); err == nil {
		t.Error("New without services says nothing")
	}
}

func TestTheOpenAPIDocumentNamesEveryAPIRoute(t *testing.T) {
	s := testServer(t, newFake())
	var doc struct {
		OpenAPI string                                `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage `json:"paths"`
	}
	w := do(s, "GET", "/api/openapi.json", bearer(testToken))
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("openapi %q: %v", doc.OpenAPI, err)
	}
	undocumented := map[string]bool{"GET /api/v1/labels/images/:id": true, "GET /api/openapi.json": true} // pictures and itself
	for _, r := range s.engine.Routes() {
		if !strings.HasPrefix(r.Path, "/api/") || undocumented[r.Method+" "+r.Path] {
			continue
		}
		path := strings.NewReplacer(":id", "{id}", ":ref", "{ref}").Replace(r.Path)
		if doc.Paths[path][strings.ToLower(r.Method)] == nil {
			t.Errorf("%s %s is not in the OpenAPI document", r.Method, path)
		}
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			route := strings.NewReplacer("{id}", ":id", "{ref}", ":ref", "{key}", "*key").Replace(path)
			found := false
			for _, r := range s.engine.Routes() {
				found = found || r.Path == route && strings.EqualFold(r.Method, method)
			}
			if !found {
				t.Errorf("the OpenAPI document promises %s %s, which is no route", method, path)
			}
		}
	}
}

func TestStatusHasNothingThatJSONLacks(t *testing.T) {
	f := newFake()
	st, err := testServer(t, f).status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if st.Champion == nil || st.Champion.Version != champRef || st.Labels.Waiting != 37 || st.Spool.Items != 3 || len(st.Runs) != 4 {
		t.Errorf("status %+v", st)
	}
	f.noModels = true
	if st, err = testServer(t, f).status(context.Background()); err != nil || st.Champion != nil || st.Alarm.State != "quiet" {
		t.Errorf("status without models %+v, %v", st, err)
	}
	if b, err := json.Marshal(st); err != nil || !strings.Contains(string(b), `"champion":null`) {
		t.Errorf("%s, %v", b, err)
	}
}

// manyRuns has one unfinished run far down the list.
type manyRuns struct{ fakeLedger }

func (manyRuns) Runs(context.Context, string, int) ([]ledger.Run, error) {
	var runs []ledger.Run
	for i := range 40 {
		runs = append(runs, ledger.Run{ID: fmt.Sprint(i), State: ledger.RunDone})
	}
	runs[30].State = ledger.RunRunning
	return runs, nil
}

func TestStatusShowsTheNewestRunsAndEveryUnfinishedOne(t *testing.T) {
	s := testServer(t, newFake())
	s.d.Ledger = manyRuns{}
	runs, err := s.currentRuns(context.Background())
	if err != nil || len(runs) != 6 || runs[5].ID != "30" {
		t.Errorf("%d runs, %v; want five and the unfinished one", len(runs), err)
	}
}
