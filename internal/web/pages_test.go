package web

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/internal/estimate"
	"driftgate/metrics"
)

var allPages = []string{"/", "/login", "/label", "/accuracy", "/accuracy?window=7d", "/accuracy?window=none", "/models", "/models/compare",
	"/models/compare?a=champion&b=previous", "/models/" + champRef.Short(), "/models/compare?a=champion&b=previous&c=" + freshRef.Short(), "/runs", "/runs?pipeline=retrain", "/decisions", "/docs"}

var (
	inlineScript = regexp.MustCompile(`(?i)<script(?:[^>]*)>[^<]|\son[a-z]+=|javascript:|\sstyle=|<style`)
	foreign      = regexp.MustCompile(`(?i)(?:src|href|action)="(?:https?:)?//`)
)

func TestPagesShowThemselvesWithAndWithoutData(t *testing.T) {
	for _, empty := range []bool{false, true} {
		f := newFake()
		f.noModels, f.unloaded = empty, empty
		s := testServer(t, f)
		for _, p := range allPages {
			if empty && (strings.Contains(p, "b=") || strings.HasPrefix(p, "/models/"+champRef.Short())) {
				continue
			}
			w := do(s, "GET", p, bearer(testToken), header("Accept", "text/html"))
			if p == "/login" {
				if w.Code != http.StatusSeeOther { // signed in already
					t.Errorf("/login with the token: %d", w.Code)
				}
				continue
			}
			page := w.Body.String()
			if w.Code != 200 || !strings.Contains(page, "</html>") || !strings.Contains(page, "<h1>") {
				t.Errorf("%s (empty %v): %d, %d bytes", p, empty, w.Code, len(page))
			}
			if m := inlineScript.FindString(page); m != "" {
				t.Errorf("%s has %q, which the content policy forbids", p, m)
			}
			if m := foreign.FindString(page); m != "" {
				t.Errorf("%s fetches from elsewhere: %q", p, m)
			}
			if strings.Contains(page, "NaN") || strings.Contains(page, "%!") || strings.Contains(page, "Jan 0001") || strings.Contains(page, "0001-01-01") {
				t.Errorf("%s (empty %v) shows a figure or time that is none", p, empty)
			}
		}
	}
}

func get(t *testing.T, f *fake, target string) string {
	t.Helper()
	w := do(testServer(t, f), "GET", target, bearer(testToken), header("Accept", "text/html"))
	if w.Code != 200 {
		t.Fatalf("%s: %d %s", target, w.Code, w.Body)
	}
	return w.Body.String()
}

func wants(t *testing.T, page string, texts ...string) {
	t.Helper()
	page = html.UnescapeString(page)
	for _, text := range texts {
		text = html.UnescapeString(text)
		if !strings.Contains(page, text) {
			t.Errorf("the page doesn't say %q", text)
		}
	}
}

func TestTheAccuracyPageGivesEveryFigureItsBoundsCountsWindowAndAge(t *testing.T) {
	f := newFake()
	page := get(t, f, "/accuracy?window=24h")
	wants(t, page, "88.9%", "85.3 to 91.8%", "12\u202f852", "612", "714", "12 min ago", "75.9%", "too few labels", `aria-current="true">24h`,
		"<path class=\"line\"", "class=\"band\"", "class=\"reference\"", "mark-promotion", "mark-alarm-firing", "drift begins",
		"No sign of drift", "All is well while accuracy stays at 85.0% or above", "One false alarm in 10 years", "102 picked images are not labelled yet",
		"0.084</strong> of 0.112", "within chance, p 0.011", "beyond chance, p under 0.0001", "by 1 of 3 tests", "first 1\u202f041",
		"E-value", "1.84", "389 blocks", "86.1 to 91.3%", "to 80.0% within 11 days")
	f.state = estimate.Firing
	wants(t, get(t, f, "/accuracy"), "Accuracy has drifted", "firing since 14 Mar 2026 12:00", "begun around 12 Mar 2026 23:00", "the drift alarm fires")
}

func TestTheAlarmBoxSaysWhatItWaitsFor(t *testing.T) {
	for _, tt := range []struct {
		name  string
		in    metrics.AlarmStatus
		title string
		says  string
	}{
		{"nothing yet", metrics.AlarmStatus{}, "No champion to watch", "first promotion"},
		{"reference incomplete", metrics.AlarmStatus{Started: testNow, ReferenceLabels: 112, ReferenceNeeded: 300}, "Gathering the reference", "112 of 300 labels"},
		{"quiet", metrics.AlarmStatus{State: estimate.Quiet, Started: testNow, Watching: true, P0: .12, ThresholdYears: 1}, "No sign of drift", "88.0% or above. One false alarm in a year"},
		{"pending", metrics.AlarmStatus{State: estimate.Pending, Watching: true, Since: testNow, ThresholdYears: .5}, "Drift suspected", "fires if it lasts"},
		{"firing", metrics.AlarmStatus{State: estimate.Firing, Watching: true, ThresholdYears: 10, FiredEvidence: 12}, "Accuracy has drifted", "firing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := boxOf(tt.in)
			if words := strings.Join(b.Words, " "); b.Title != tt.title || !strings.Contains(words, tt.says) {
				t.Errorf("%q: %q, want %q with %q", b.Title, words, tt.title, tt.says)
			}
			if b.Share < 0 || b.Share > 1 || (tt.name == "firing") != (b.Share == 1) {
				t.Errorf("share %g", b.Share)
			}
		})
	}
}

func TestTheModelPagesOfferWhatMayBeDone(t *testing.T) {
	page := get(t, newFake(), "/models")
	wants(t, page, champRef.Short(), "gate: +6.7 points on 412 held-out labels", "90.2%", "7\u202f412", `value="`+freshRef.Short()+`"`, "Roll back to "+oldRef.Short(), "/models/compare?a=champion&amp;b="+freshRef.Short())
	if strings.Contains(page, `name="ref" value="`+champRef.Short()) {
		t.Error("the champion may be promoted")
	}
	page = get(t, newFake(), "/models/compare?a=champion&b="+freshRef.Short())
	wants(t, page, "Promote: the challenger is better by more than chance explains", "+6.7", "+3.1 to +10.4", "290", "14", "61", "47", "70.4%", "0.00041", "412 held-out pairs")
}

func TestTheListOfModelsNamesTheirNetworks(t *testing.T) {
	w := do(testServer(t, newFake()), "GET", "/api/v1/models", bearer(testToken))
	wants(t, w.Body.String(), `"architecture":"cnn","network":"cnn: conv 3x3x32, pool 2, conv 3x3x64, pool 2, dense 128, dense 10; 421,642 weights"`)
}

func TestComparingAModelWithItselfSaysWhyNot(t *testing.T) {
	w := do(testServer(t, newFake()), "GET", "/models/compare?a=champion&b="+champRef.Short(), bearer(testToken), header("Accept", "text/html"))
	if w.Code != 422 || !strings.Contains(w.Body.String(), "compared with itself") {
		t.Errorf("%d", w.Code)
	}
}

func TestPageActions(t *testing.T) {
	for _, tt := range []struct {
		target   string
		values   url.Values
		location string
		done     func(f *fake) bool
	}{
		{"/models/promote", url.Values{"ref": {freshRef.Short()}, "reason": {"better"}}, "/models?done=promoted", func(f *fake) bool { return f.promoted == freshRef }},
		{"/models/rollback", url.Values{"reason": {"worse"}}, "/models?done=rollback", func(*fake) bool { return true }},
		{"/runs", url.Values{"reason": {"spring"}}, "/runs?done=started", func(f *fake) bool { return len(f.triggers) == 1 && f.triggers[0].Reason == "spring" }},
		{"/runs/cancel", url.Values{"id": {knownRun}}, "/runs?done=cancel", func(f *fake) bool { return f.cancelled == knownRun }},
		{"/label", url.Values{"id": {"a.png"}, "label": {"Coat"}}, "/label", func(f *fake) bool { return f.labels["a.png"] == "Coat" }},
		{"/label", url.Values{"id": {"a.png"}, "do": {"skip"}}, "/label", func(f *fake) bool { return f.labels["a.png"] == "skipped" }},
		{"/label", url.Values{"do": {"undo"}}, "/label", func(*fake) bool { return true }},
	} {
		f := newFake()
		body, kind := form(tt.values)
		w := send(testServer(t, f), "POST", tt.target, body, kind, bearer(testToken), header("Accept", "text/html"))
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != tt.location || !tt.done(f) {
			t.Errorf("%s %v: %d to %q, done %v", tt.target, tt.values, w.Code, w.Header().Get("Location"), tt.done(f))
		}
	}
	wants(t, get(t, newFake(), "/models?done=promoted"), "champion record has moved")
	if strings.Contains(get(t, newFake(), "/models?done=%3Cb%3Ehello"), "hello") {
		t.Error("a notice can be made up by a link")
	}
}

func TestErrorsArePagesForPeopleAndProblemsForPrograms(t *testing.T) {
	s := testServer(t, newFake())
	w := do(s, "GET", "/nowhere/%3Cscript%3E", header("Accept", "text/html,application/xhtml+xml"))
	if w.Code != 404 || !strings.Contains(w.Body.String(), "<h1>Not Found</h1>") || strings.Contains(w.Body.String(), "<script>") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if p := decoded[Problem](t, do(s, "GET", "/nowhere")); p.Status != 404 || !strings.Contains(p.Detail, "/nowhere") {
		t.Errorf("%+v", p)
	}
}

func TestWhatUsersWriteIsEscaped(t *testing.T) {
	f := newFake()
	f.inboxErr = fmt.Errorf("<img src=x onerror=alert(1)>: %w", dg.ErrInvalid)
	body, kind := form(url.Values{"reason": {"x"}})
	w := send(testServer(t, f), "POST", "/runs", body, kind, bearer(testToken), header("Accept", "text/html"))
	if w.Code != 422 || strings.Contains(w.Body.String(), "<img") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := keyPath("class_01/a?b#c%d e.png"); got != "class_01/a%3Fb%23c%25d%20e.png" {
		t.Errorf("keyPath: %s", got)
	}
}

func TestStaticFilesMayBeKeptForEverUnderTheirOwnName(t *testing.T) {
	s := testServer(t, newFake())
	for name, kind := range map[string]string{"style.css": "text/css", "app.js": "javascript", "icon.svg": "image/svg"} {
		w := do(s, "GET", s.pages.staticPath(name))
		if w.Code != 200 || !strings.Contains(w.Header().Get("Content-Type"), kind) || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
	}
	if w := do(s, "GET", "/static/style.css?v=old"); strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
		t.Error("an old name is kept for ever")
	}
	if w := do(s, "GET", "/static/..%2fweb.go"); w.Code != 404 {
		t.Errorf("a path out of the folder: %d", w.Code)
	}
}

func TestProgressIsHowFarTheEpochsAre(t *testing.T) {
	for _, tt := range []struct {
		in   runProgress
		want float64
	}{{runProgress{}, 0}, {runProgress{Epoch: 1, Epochs: 10, Step: 0, Steps: 100}, 0}, {runProgress{Epoch: 4, Epochs: 10, Step: 50, Steps: 100}, 35}, {runProgress{Epoch: 10, Epochs: 10, Step: 100, Steps: 100}, 100}, {runProgress{Epoch: 99, Epochs: 10}, 100}} {
		if got := tt.in.share(); got != tt.want {
			t.Errorf("%+v: %g%%, want %g%%", tt.in, got, tt.want)
		}
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		percent(.88949): "88.9%", points(-.0312): "−3.1", bounds(.8, .9): "80.0 to 90.0%", count(1234567): "1\u202f234\u202f567", count(-12): "-12",
		plural(1, "label", "labels"): "1 label", plural(0, "label", "labels"): "0 labels", span(90 * time.Second): "2 min", span(36 * time.Hour): "36 h", span(72 * time.Hour): "3 days",
		age(testNow, time.Time{}): "never", bytesText(10 << 20): "10 MiB", bytesText(1500): "1.5 KiB", bytesText(12): "12 B", clock(time.Time{}): "–", pValue(1e-9): "under 0.0001",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
