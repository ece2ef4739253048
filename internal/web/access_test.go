package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// openRoutes is the whole list of what anyone may call. A route that is not
// here must refuse whoever has no token; add to it only with a reason in
// docs/architecture.md.
var openRoutes = map[string]bool{
	"GET /": true, "POST /predict": true, "POST /flag/*key": true, "POST /correct-label/*key": true, "GET /version": true,
	"GET /-/healthy": true, "GET /-/ready": true,
	"GET /login": true, "POST /login": true, "GET /static/:name": true, "GET /favicon.ico": true,
}

func do(s *server, method, target string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	return send(s, method, target, "", change...)
}

func send(s *server, method, target, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	s.engine.ServeHTTP(w, r)
	return w
}

func header(key, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(key, value) }
}

func bearer(token string) func(*http.Request) { return header("Authorization", "Bearer "+token) }

func form(values url.Values) (string, func(*http.Request)) {
	return values.Encode(), header("Content-Type", "application/x-www-form-urlencoded")
}

// concrete fills a route's parameters.
func concrete(route string) string {
	return strings.NewReplacer("*key", knownKey, ":id", "x", ":name", "style.css").Replace(route)
}

func TestEveryRouteIsOpenOnPurposeOrAsksForTheToken(t *testing.T) {
	s := testServer(t, newFake())
	routes := s.engine.Routes()
	if len(routes) < 40 {
		t.Fatalf("%d routes registered: the test would prove little", len(routes))
	}
	for _, r := range routes {
		name := r.Method + " " + r.Path
		for _, tt := range []struct {
			who    string
			change []func(*http.Request)
		}{
			{"nobody", nil},
			{"a wrong token", []func(*http.Request){bearer("wrong-token-wrong-token")}},
			{"an empty token", []func(*http.Request){header("Authorization", "Bearer ")}},
			{"the token as basic auth", []func(*http.Request){func(r *http.Request) { r.SetBasicAuth("x", testToken) }}},
			{"the alerts token", []func(*http.Request){bearer(alertToken)}},
			{"a made-up session", []func(*http.Request){header("Cookie", sessionCookie+"=made-up")}},
		} {
			if name == "POST /api/v1/alerts" && (tt.who == "the alerts token" || tt.who == "the token as basic auth") {
				continue // allowed there, see TestWebhook
			}
			got := do(s, r.Method, concrete(r.Path), tt.change...).Code
			if openRoutes[name] && got == http.StatusUnauthorized && name != "POST /login" {
				t.Errorf("%s is open, but answers %d to %s", name, got, tt.who)
			}
			if !openRoutes[name] && got != http.StatusUnauthorized {
				t.Errorf("%s answers %d to %s, want 401: close it, or say in openRoutes why it is open", name, got, tt.who)
			}
		}
	}
	for name := range openRoutes {
		if s.routes[name] != isOpen {
			t.Errorf("openRoutes names %s, which is not an open route", name)
		}
	}
}

func TestTheTokenOpensEveryRoute(t *testing.T) {
	s := testServer(t, newFake())
	for _, r := range s.engine.Routes() {
		if r.Path == "/events" { // a stream, see TestEvents
			continue
		}
		if got := do(s, r.Method, concrete(r.Path), bearer(testToken)).Code; got == http.StatusUnauthorized && r.Path != "/login" || got == http.StatusForbidden {
			t.Errorf("%s %s answers %d to the token", r.Method, r.Path, got)
		}
	}
}

func TestSettingsOpenWhatTheyNameAndNothingElse(t *testing.T) {
	s := testServer(t, newFake(), func(o *Options) { o.OpenTriggers, o.OpenMetrics = true, true })
	for _, r := range s.engine.Routes() {
		name := r.Method + " " + r.Path
		named := name == "POST /pipeline/start" || name == "POST /trigger-training" || name == "GET /metrics"
		if got := do(s, r.Method, concrete(r.Path)).Code; !openRoutes[name] && named == (got == http.StatusUnauthorized) {
			t.Errorf("%s answers %d with triggers and metrics open", name, got)
		}
	}
}

// signIn returns the session cookie that the login page gives for the token.
func signIn(t *testing.T, s *server) *http.Cookie {
	t.Helper()
	body, kind := form(url.Values{"token": {testToken}, "next": {"/runs"}})
	w := send(s, "POST", "/login", body, kind)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/runs" {
		t.Fatalf("login: %d to %q, want 303 to /runs", w.Code, w.Header().Get("Location"))
	}
	cookies := w.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("login set %d cookies, want 1", len(cookies))
	}
	return cookies[0]
}

func TestASessionOpensPagesAndEndsWithSigningOut(t *testing.T) {
	s := testServer(t, newFake())
	cookie := signIn(t, s)
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || strings.Contains(cookie.Value, testToken) {
		t.Errorf("cookie %+v: want HttpOnly, SameSite=Strict and no token in it", cookie)
	}
	with := func(r *http.Request) { r.AddCookie(cookie) }
	if got := do(s, "GET", "/runs", with).Code; got != http.StatusOK {
		t.Errorf("/runs answers %d to the session", got)
	}
	if got := do(s, "POST", "/logout", with).Code; got != http.StatusSeeOther {
		t.Errorf("/logout answers %d", got)
	}
	if got := do(s, "GET", "/runs", with).Code; got != http.StatusUnauthorized {
		t.Errorf("/runs answers %d after signing out, want 401", got)
	}
}

func TestTheCookieIsSecureUnderTLS(t *testing.T) {
	s := testServer(t, newFake())
	body, kind := form(url.Values{"token": {testToken}})
	w := send(s, "POST", "https://gateway.example/login", body, kind)
	if c := w.Result().Cookies(); len(c) != 1 || !c[0].Secure {
		t.Errorf("cookies %v, want one that is Secure", c)
	}
}

func TestAWrongTokenDoesNotSignIn(t *testing.T) {
	s := testServer(t, newFake())
	body, kind := form(url.Values{"token": {"wrong"}})
	w := send(s, "POST", "/login", body, kind)
	if w.Code != http.StatusUnauthorized || len(w.Result().Cookies()) != 0 || !strings.Contains(w.Body.String(), "not the token") {
		t.Errorf("%d, cookies %v: want 401 with a word and no cookie", w.Code, w.Result().Cookies())
	}
}

func TestAnotherSiteCannotActWithASession(t *testing.T) {
	f := newFake()
	s := testServer(t, f)
	cookie := signIn(t, s)
	body, kind := form(url.Values{"ref": {freshRef.Short()}, "reason": {"x"}})
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		want   int
	}{
		{"a form of another site", header("Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		{"a sibling site", header("Sec-Fetch-Site", "same-site"), http.StatusForbidden},
		{"an old browser on another site", header("Origin", "https://evil.example"), http.StatusForbidden},
		{"our own page", header("Sec-Fetch-Site", "same-origin"), http.StatusSeeOther},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.promoted = ""
			w := send(s, "POST", "/models/promote", body, kind, tt.change, func(r *http.Request) { r.AddCookie(cookie) })
			if w.Code != tt.want || (f.promoted != "") != (tt.want == http.StatusSeeOther) {
				t.Errorf("%d, promoted %q; want %d", w.Code, f.promoted, tt.want)
			}
		})
	}
	body, kind = form(url.Values{"token": {testToken}})
	if w := send(s, "POST", "/login", body, kind, header("Sec-Fetch-Site", "cross-site")); w.Code != http.StatusForbidden {
		t.Errorf("login from another site: %d, want 403", w.Code)
	}
}

func TestPagesSendStrangersToTheLoginAndBack(t *testing.T) {
	s := testServer(t, newFake())
	w := do(s, "GET", "/accuracy?window=7d", header("Accept", "text/html"))
	if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != "/login?next=%2Faccuracy%3Fwindow%3D7d" {
		t.Errorf("%d to %q", w.Code, got)
	}
}

func TestRedirectsStayOnThisSite(t *testing.T) {
	for next, want := range map[string]string{
		"/models?x=1": "/models?x=1", "": "/", "https://evil.example/": "/", "//evil.example": "/", `/\evil.example`: "/",
		"models": "/", "javascript:alert(1)": "/", "/a\r\nSet-Cookie: x": "/", "/%2f/evil.example": "/%2f/evil.example",
	} {
		if got := localPath(next); got != want {
			t.Errorf("localPath(%q) = %q, want %q", next, got, want)
		}
	}
}

func TestSessionsAreBoundedAndEnd(t *testing.T) {
	ss := newSessions(time.Hour)
	now := testNow
	first := ss.start(now)
	var last string
	for i := range maxSessions {
		last = ss.start(now.Add(time.Duration(i+1) * time.Second))
	}
	if len(ss.open) != maxSessions || ss.valid(first, now) || !ss.valid(last, now) {
		t.Errorf("%d sessions, first valid %v, last valid %v; want %d, false, true", len(ss.open), ss.valid(first, now), ss.valid(last, now), maxSessions)
	}
	if ss.valid(last, now.Add(2*time.Hour)) {
		t.Error("a session outlives its length")
	}
	ss.start(now.Add(3 * time.Hour))
	if len(ss.open) != 1 {
		t.Errorf("%d sessions kept after all have ended, want the new one only", len(ss.open))
	}
}

func TestOptionsReportEveryFaultAtOnce(t *testing.T) {
	err := Options{Token: "short", AlertsToken: "short", MaxInFlight: -1}.Validate()
	for _, want := range []string{"model", "token: 5 characters", "alerts token", "limits"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v says nothing about %q", err, want)
		}
	}
}

func TestEveryAnswerCarriesTheSecurityHeaders(t *testing.T) {
	s := testServer(t, newFake())
	for _, target := range []string{"/", "/login", "/nowhere", "/api/v1/status", "/static/style.css"} {
		h := do(s, "GET", target).Header()
		if !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || strings.Contains(h.Get("Content-Security-Policy"), "unsafe") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: headers %v", target, h)
		}
	}
}
