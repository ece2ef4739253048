package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chromedp/chromedp"

	dg "driftgate"
	"driftgate/evaluator"
	"driftgate/internal/ledger"
)

func TestReportsStudiesAndGalleriesOverTheAPI(t *testing.T) {
	three := champRef.Short() + "," + freshRef.Short() + "," + oldRef.Short()
	pair := "/compare/discordant?a=" + champRef.Short() + "&b=" + freshRef.Short()
	for _, tt := range []struct {
		name, method, route, body string
		status                    int
		says                      string
	}{
		{"a report", "GET", "/models/champion/report", "", 200, `"kind":"heldout"`},
		{"a report over an interval", "GET", "/models/champion/report?start=2026-03-01T00:00:00Z&end=2026-03-02T00:00:00Z", "", 200, `"interval":{"start":"2026-03-01T00:00:00Z","end":"2026-03-02T00:00:00Z"}`},
		{"a report over half an interval", "GET", "/models/champion/report?start=2026-03-01T00:00:00Z", "", 422, "START before END"},
		{"a report on nothing", "GET", "/models/none/report", "", 404, "none"},
		{"a study", "GET", "/compare/study?versions=" + three, "", 200, `"agreement":[{"suite":"heldout"`},
		{"a study of one", "GET", "/compare/study?versions=champion", "", 422, "want 2 to 8"},
		{"a study of the same twice", "GET", "/compare/study?versions=champion," + champRef.Short(), "", 422, "twice"},
		{"a study of too many", "GET", "/compare/study?versions=" + strings.Repeat("x,", 20), "", 422, "want 2 to 8"},
		{"a gallery", "GET", pair + "&kind=only_b", "", 200, `"next":"23<&>.png"`},
		{"its last page", "GET", pair + "&kind=only_b&limit=50&after=" + url.QueryEscape("23<&>.png"), "", 200, `"id":"60<&>.png"`},
		{"a gallery of nothing", "GET", pair + "&kind=only_c", "", 422, "only_a"},
		{"a gallery without an end", "GET", pair + "&kind=only_a&limit=1000000", "", 422, "limit"},
		{"a rejection", "POST", "/reject", `{"ref":"` + freshRef.Short() + `","reason":"no better"}`, 204, ""},
		{"a rejection without a reason", "POST", "/reject", `{"ref":"` + freshRef.Short() + `","reason":" "}`, 422, "why"},
		{"a rejection of the champion", "POST", "/reject", `{"ref":"champion","reason":"x"}`, 409, "roll back"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, body := api(testServer(t, newFake()), tt.method, tt.route, tt.body)
			if code != tt.status || !strings.Contains(body, tt.says) {
				t.Errorf("%d %.600s\nwant %d with %q", code, body, tt.status, tt.says)
			}
		})
	}
}

func TestPicturesOfSuitesAreNeverPages(t *testing.T) {
	s := testServer(t, newFake())
	for id, want := range map[string]struct {
		status int
		kind   string
	}{"a.png": {200, "image/png"}, "page.png": {200, "application/octet-stream"}, "none": {404, "application/problem+json"}, "": {422, "application/problem+json"}, strings.Repeat("x", 500): {422, "application/problem+json"}} {
		w := do(s, "GET", apiBase+"/models/champion/picture?suite=test&id="+url.QueryEscape(id), bearer(testToken))
		if w.Code != want.status || w.Header().Get("Content-Type") != want.kind {
			t.Errorf("%.20q: %d as %s, want %+v", id, w.Code, w.Header().Get("Content-Type"), want)
		}
	}
	if w := do(s, "GET", apiBase+"/models/champion/picture?id=a.png"); w.Code != 401 {
		t.Errorf("a picture without the token: %d", w.Code)
	}
}

func TestComparePageSaysWhichIsBetterForWhomHowSureAndWhatFollows(t *testing.T) {
	f := newFake()
	target := "/models/compare?a=champion&b=" + freshRef.Short()
	page := get(t, f, target)
	wants(t, page, "Promote: the challenger is better", "+6.7", "+3.1 to +10.4", "B is worse than A on Shirt (−20.0 points)", "B is better than A on brightness dark (+15.0 points)",
		"Only A right", "Only B right", "Both wrong", `loading="lazy"`, "low confidence", "the folder is empty", "counts, human", "served as generation 1", `name="description"`,
		"taken back by itself if it does harm", `action="/models/promote"`)
	if strings.Contains(page, "The gate leaves it to you") || strings.Contains(page, "<&>") {
		t.Error("a clear verdict asks a person, or an id stands unescaped")
	}
	f.verdict = dg.Inconclusive
	wants(t, get(t, f, target), "Inconclusive", "About 240 more labels", "The gate leaves it to you", `action="/models/reject"`)
	f.verdict = dg.Errored
	wants(t, get(t, f, target), "It could not be judged")
	wants(t, get(t, newFake(), target+"&c=previous"), "A against C", "B against C", "C</span>")
	later := get(t, newFake(), target+"&kind=only_b&after="+url.QueryEscape("23<&>.png"))
	wants(t, later, "id=24%3C%26%3E.png", "From the first", `aria-current="true">Only B right`)
	if strings.Contains(later, "picture?id=23") {
		t.Error("the second page shows what the first did")
	}
}

func TestModelPageShowsEverySuiteWithItsBounds(t *testing.T) {
	wants(t, get(t, newFake(), "/models/"+freshRef.Short()), "Held-out production", "84.0%", "81.0 to 87.0%", "below average", "T-shirt/top called Dress", "weak", "When the world turns", "Rotation",
		"210 µs", "the folder is empty", `action="/models/promote"`, `action="/models/expose"`, "/onnx", "/export", "What it learned from",
		"cnn: conv 3x3x32, pool 2, conv 3x3x64, pool 2, dense 128, dense 10; 421,642 weights")
	f := newFake()
	f.evalErr = fmt.Errorf("evaluator: its self-test fails: %w", dg.ErrRefused)
	wants(t, get(t, f, "/models/"+freshRef.Short()), "its self-test fails", "What it learned from")
}

func TestTickedVersionsAreComparedWithTheChampionFirst(t *testing.T) {
	w := do(testServer(t, newFake()), "GET", "/models/compare?v="+freshRef.Short()+"&v="+champRef.Short()+"&v="+oldRef.Short(), bearer(testToken), header("Accept", "text/html"))
	if want := "/models/compare?a=" + champRef.Short() + "&b=" + oldRef.Short() + "&c=" + freshRef.Short(); w.Code != http.StatusSeeOther || w.Header().Get("Location") != want {
		t.Errorf("%d to %s, want %s", w.Code, w.Header().Get("Location"), want)
	}
}

func TestFormsMoveModelsAndRefuseNonsense(t *testing.T) {
	for _, tt := range []struct {
		path, form string
		status     int
		says       string
	}{
		{"/models/expose", "stage=canary&percent=5&reason=x&ref=" + freshRef.Short(), 303, ""},
		{"/models/expose", "stage=shadow&percent=5&reason=x&ref=" + freshRef.Short(), 303, ""},
		{"/models/expose", "stage=canary&percent=many&reason=x&ref=" + freshRef.Short(), 422, "at most 100 percent"},
		{"/models/expose", "stage=canary&percent=NaN&reason=x&ref=" + freshRef.Short(), 422, "at most 100 percent"},
		{"/models/expose", "stage=blue&reason=x&ref=" + freshRef.Short(), 422, "shadow or canary"},
		{"/models/expose/end", "reason=x", 409, "nothing is exposed"},
		{"/models/reject", "reason=x&ref=" + freshRef.Short(), 303, ""},
		{"/models/reject", "ref=" + freshRef.Short(), 422, "why"},
		{"/models/promote", "reason=x&ref=" + freshRef.Short(), 303, ""},
	} {
		w := send(testServer(t, newFake()), "POST", tt.path, tt.form, bearer(testToken), header("Content-Type", "application/x-www-form-urlencoded"))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
			t.Errorf("%s %s: %d %.300s, want %d with %q", tt.path, tt.form, w.Code, w.Body, tt.status, tt.says)
		}
	}
}

// A page that computes says so at once and looks again; the figure, once there,
// is computed no second time.
func TestWhatTakesLongIsComputedOnceWhileThePageSaysSo(t *testing.T) {
	f := newFake()
	f.evalWait = make(chan struct{})
	s := testServer(t, f)
	ask := func(path string) *httptest.ResponseRecorder {
		return do(s, "GET", path, bearer(testToken), header("Accept", "text/html"))
	}
	page := ask("/models/" + freshRef.Short()).Body.String()
	wants(t, page, "Computing the report", `http-equiv="refresh"`, "What it learned from")
	close(f.evalWait)
	for range 100 {
		if page = ask("/models/" + freshRef.Short()).Body.String(); !strings.Contains(page, "Computing") {
			break
		}
	}
	wants(t, page, "Held-out production")
	if strings.Contains(page, `http-equiv="refresh"`) {
		t.Error("a page that is there loads itself again")
	}
}

func TestFiguresAreKeptBoundedAndRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFigures(func(context.Context) (ledger.Revision, error) { return ledger.Revision{}, nil })
		var calls, at, most atomic.Int64
		compute := func(ctx context.Context) (int64, error) {
			most.Store(max(most.Load(), at.Add(1)))
			defer at.Add(-1)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			return calls.Add(1), ctx.Err()
		}
		get := func(key string, wait time.Duration) found[int64] {
			t.Helper()
			got, err := figureOf(t.Context(), f, key, wait, compute)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		if got := get("a", time.Millisecond); got.Has() || !got.Computing {
			t.Errorf("before it is there: %+v", got)
		}
		if got := get("a", time.Minute); got.Value != 1 || got.Computing {
			t.Errorf("waited for: %+v", got)
		}
		time.Sleep(sameFor - time.Minute)
		if got := get("a", time.Minute); got.Value != 1 {
			t.Errorf("nothing was written, and it was computed again: %+v", got)
		}
		time.Sleep(2 * time.Minute)
		if got := get("a", time.Millisecond); got.Value != 1 || !got.Computing {
			t.Errorf("an old one is shown while a newer one is under way: %+v", got)
		}
		for i := range maxUnderWay - 1 {
			get(fmt.Sprint(i), time.Millisecond)
		}
		if _, err := figureOf(t.Context(), f, "one more", time.Millisecond, compute); !errors.Is(err, dg.ErrFull) {
			t.Errorf("%d at once: %v, want full", maxUnderWay+1, err)
		}
		time.Sleep(time.Minute)
		for i := range maxKept + 20 {
			get(fmt.Sprint("many ", i), time.Hour)
		}
		if len(f.kept) > maxKept || most.Load() != 1 {
			t.Errorf("%d kept, %d computed at once", len(f.kept), most.Load())
		}
		told := make(chan error)
		go func() {
			_, err := figureOf(t.Context(), f, "last", time.Minute, compute)
			told <- err
		}()
		synctest.Wait()
		f.stop()
		if err := <-told; !errors.Is(err, dg.ErrFull) {
			t.Errorf("waiting at the end: %v, want full", err)
		}
		if _, err := figureOf(t.Context(), f, "after the end", time.Minute, compute); !errors.Is(err, dg.ErrFull) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestAFailureIsToldOnceToWhoeverWaitsAndThenTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFigures(func(context.Context) (ledger.Revision, error) { return ledger.Revision{}, nil })
		calls := 0
		fails := func(context.Context) (int, error) {
			if calls++; calls == 2 {
				panic("boom")
			}
			time.Sleep(time.Minute)
			return 0, fmt.Errorf("no store: %w", dg.ErrIncomplete)
		}
		if got, err := figureOf(t.Context(), f, "a", time.Second, fails); err != nil || !got.Computing {
			t.Fatal(got, err)
		}
		time.Sleep(time.Minute)
		if _, err := figureOf(t.Context(), f, "a", time.Second, fails); !errors.Is(err, dg.ErrIncomplete) || calls != 1 {
			t.Errorf("%v after %d calls, want what failed", err, calls)
		}
		time.Sleep(failedFor)
		if _, err := figureOf(t.Context(), f, "a", time.Second, fails); err == nil || !strings.Contains(err.Error(), "boom") {
			t.Errorf("%v, want the panic as an error", err)
		}
		f.stop()
	})
}

func TestLineageComesInOrderAndStaysInItsPicture(t *testing.T) {
	s := testStudy([]dg.ModelRef{oldRef, champRef, freshRef}, dg.Interval{})
	c := lineageOf(s.Lineage, map[string]string{string(champRef): "B"}, 400)
	var order []string
	for _, r := range c.Rows {
		order = append(order, r.Title)
		if r.Y < 0 || r.Y > c.Height || r.X > c.Width {
			t.Errorf("%s lies at %g, %g of %g x %g", r.Title, r.X, r.Y, c.Width, c.Height)
		}
	}
	if want := "x@1 " + oldRef.Short() + " " + champRef.Short() + " " + freshRef.Short(); strings.Join(order, " ") != want || len(c.Edges) != 5 {
		t.Errorf("%v with %d lines, want %s with 5", order, len(c.Edges), want)
	}
	circle := evaluator.Lineage{Nodes: []evaluator.Node{{ID: "a", Kind: evaluator.NodeVersion}, {ID: "b", Kind: evaluator.NodeVersion}},
		Edges: []evaluator.Edge{{From: "a", To: "b", Kind: "parent of"}, {From: "b", To: "a", Kind: "parent of"}}}
	if c := lineageOf(circle, nil, 400); len(c.Rows) != 2 {
		t.Errorf("a circle: %+v", c)
	}
}

func TestTheTimelineKeepsGenerationsInOrder(t *testing.T) {
	at := func(hours int) time.Time { return testNow.Add(time.Duration(hours) * time.Hour) }
	history := []dg.Champion{{Version: oldRef, Generation: 3, PromotedAt: at(-5), Reason: "rollback: harm"}, {Version: champRef, Generation: 2, PromotedAt: at(-10)}, {Version: oldRef, Generation: 1, PromotedAt: at(-30)}}
	c := timelineOf(history, []moveBody{{At: at(-7), Kind: ledger.EventRejection, Version: "x"}}, nil, testNow, wideTimeline)
	if len(c.Rows) != 2 || len(c.Rows[0].Bars) != 1 || len(c.Rows[1].Bars) != 2 || !c.Rows[1].Now || len(c.Marks) != 1 {
		t.Fatalf("%+v", c)
	}
	now, before := c.Rows[1].Bars[0], c.Rows[0].Bars[0]
	if now.Class != "served back" || before.X+before.Width > now.X+.2 || now.X+now.Width > c.Right+.2 {
		t.Errorf("generation 2 %+v, generation 3 %+v", before, now)
	}
	if c := timelineOf(nil, nil, nil, testNow, wideTimeline); len(c.Rows) != 0 {
		t.Errorf("nobody served: %+v", c)
	}
}

// TestSomebodyComparesAndPromotes walks from the list of models to a
// comparison, through its gallery, to a promotion.
func TestSomebodyComparesAndPromotes(t *testing.T) {
	ctx := browser(t)
	f := newFake()
	f.verdict = dg.Inconclusive
	server := httptest.NewServer(testServer(t, f).engine)
	t.Cleanup(server.CloseClientConnections)
	step := func(name string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, actions...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	read := func(a chromedp.Action[string]) string {
		t.Helper()
		text, err := chromedp.Run(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	fresh := freshRef.Short()
	step("the models", chromedp.Navigate(server.URL+"/login?next=%2Fmodels#token="+testToken), chromedp.WaitVisible(`.models-table`))
	step("two are ticked", chromedp.Click(`input[name=v][value="`+fresh+`"]`), chromedp.Click("#pick button"), chromedp.WaitVisible("#verdict"))
	if where := read(chromedp.Location()); where != server.URL+"/models/compare?a="+champRef.Short()+"&b="+fresh {
		t.Errorf("compared at %s", where)
	}
	if said := read(chromedp.Text("#verdict")); !strings.Contains(said, "Inconclusive") || !strings.Contains(said, "Shirt (−20.0 points)") {
		t.Errorf("the verdict says %q", said)
	}
	step("only B right", chromedp.Click(`#gallery .segments a:nth-child(2)`), chromedp.WaitVisible(`#gallery .segments a:nth-child(2)[aria-current]`))
	shown := read(chromedp.Poll[string](`(() => { const i = document.querySelector(".gallery img"); i.scrollIntoView(); return i.complete && i.naturalWidth > 0 ? String(i.naturalWidth) : "" })()`, chromedp.WithPollingTimeout(20*time.Second)))
	if shown != "28" {
		t.Errorf("the first image is %q wide", shown)
	}
	step("more of them", chromedp.Click(`#gallery a[rel=next]`), chromedp.WaitVisible(`#gallery a.button[href*="kind=only_b"]`))
	if first := read(chromedp.Evaluate[string](`new URL(document.querySelector(".gallery img").src).searchParams.get("id")`)); first != "24<&>.png" {
		t.Errorf("the second page begins with %q", first)
	}
	step("promote with a reason", chromedp.Click(`button[popovertarget="pop-`+fresh+`"]`), chromedp.WaitVisible(`[id="why-`+fresh+`"]`), chromedp.SendKeys(`[id="why-`+fresh+`"]`, "seen enough"),
		chromedp.Click(`[id="pop-`+fresh+`"] button`), chromedp.WaitVisible(".notice"))
	f.mu.Lock()
	promoted := f.promoted
	f.mu.Unlock()
	if promoted != freshRef {
		t.Errorf("promoted %q", promoted)
	}
	step("and leave another", chromedp.Navigate(server.URL+"/models/compare?a=champion&b="+oldRef.Short()), chromedp.WaitVisible("#verdict"), chromedp.Click(`button[popovertarget="leave-`+oldRef.Short()+`"]`),
		chromedp.WaitVisible("#leave-why"), chromedp.SendKeys("#leave-why", "older"), chromedp.Click(`[id="leave-`+oldRef.Short()+`"] button`), chromedp.WaitVisible(".notice"))
	f.mu.Lock()
	defer f.mu.Unlock()
	if got, _ := json.Marshal(f.rejected); string(got) != `["`+oldRef.Short()+` person: older"]` {
		t.Errorf("rejected %s", got)
	}
}
