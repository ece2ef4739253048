package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	dg "driftgate"
)

func labelForm(t *testing.T, f *fake, values url.Values, cookie string) *httptest.ResponseRecorder {
	t.Helper()
	body, kind := form(values)
	return send(testServer(t, f), "POST", "/label", body, kind, bearer(testToken), header("Accept", "text/html"), header("Cookie", cookie))
}

func TestANameGivenOnThePageIsWhoLabels(t *testing.T) {
	for _, name := range []string{"Ann", "Jörg Müller", "李 雷", "a.b+c@d_e-f"} {
		w := labelForm(t, newFake(), url.Values{"do": {"name"}, "name": {" " + name + " "}}, "")
		set := w.Result().Cookies()
		if w.Code != http.StatusSeeOther || len(set) != 1 || !set[0].HttpOnly || set[0].SameSite != http.SameSiteStrictMode {
			t.Fatalf("%q: %d, cookies %v", name, w.Code, set)
		}
		cookie := set[0].Name + "=" + set[0].Value
		f := newFake()
		labelForm(t, f, url.Values{"id": {"a.png"}, "label": {"Coat"}}, cookie)
		if f.labels["who"] != name {
			t.Errorf("%q labels as %q", name, f.labels["who"])
		}
		page := do(testServer(t, f), "GET", "/label", bearer(testToken), header("Accept", "text/html"), header("Cookie", cookie)).Body.String()
		if !strings.Contains(page, "You label as") || !strings.Contains(page, fmt.Sprintf("value=%q", strings.ReplaceAll(name, "+", "&#43;"))) {
			t.Errorf("the page doesn't say that %q labels:\n%s", name, page)
		}
	}
}

func TestABadNameIsRefusedAndABadCookieIsNobody(t *testing.T) {
	for _, name := range []string{"<script>", strings.Repeat("x", 65), "a;b"} {
		if w := labelForm(t, newFake(), url.Values{"do": {"name"}, "name": {name}}, ""); w.Code != http.StatusUnprocessableEntity || len(w.Result().Cookies()) != 0 {
			t.Errorf("%q: %d, cookies %v", name, w.Code, w.Result().Cookies())
		}
		f := newFake()
		labelForm(t, f, url.Values{"id": {"a.png"}, "label": {"Coat"}}, annotatorCookie+"="+url.QueryEscape(name))
		if f.labels["who"] != "page" {
			t.Errorf("a cookie of %q labels as %q", name, f.labels["who"])
		}
	}
	w := labelForm(t, newFake(), url.Values{"do": {"name"}, "name": {""}}, "")
	if set := w.Result().Cookies(); len(set) != 1 || set[0].MaxAge >= 0 {
		t.Errorf("no name: cookies %v, want it forgotten", set)
	}
}

func TestACollectedLabelIsWithdrawnByAPI(t *testing.T) {
	f := newFake()
	w := send(testServer(t, f), "POST", apiBase+"/labels/withdraw", `{"id":"a.png"}`, header("Content-Type", "application/json"), bearer(testToken))
	if w.Code != http.StatusNoContent || f.labels["a.png"] != "withdrawn" {
		t.Errorf("%d %s, %v", w.Code, w.Body, f.labels)
	}
	for want, err := range map[int]error{http.StatusNotFound: dg.ErrNotFound, http.StatusUnprocessableEntity: dg.ErrInvalid} {
		f := newFake()
		f.err = fmt.Errorf("labelling: withdraw: %w", err)
		w := send(testServer(t, f), "POST", apiBase+"/labels/withdraw", `{"id":"a.png"}`, header("Content-Type", "application/json"), bearer(testToken))
		if w.Code != want {
			t.Errorf("%v: %d %s", err, w.Code, w.Body)
		}
	}
	if w := send(testServer(t, newFake()), "POST", apiBase+"/labels/withdraw", `{"id":"a.png"}`, header("Content-Type", "application/json")); w.Code != http.StatusUnauthorized {
		t.Errorf("without the token: %d", w.Code)
	}
}
