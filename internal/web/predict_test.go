package web

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	dg "driftgate"
)

func jsonImage(b []byte) string { return `{"image":"` + base64.StdEncoding.EncodeToString(b) + `"}` }

func multipartImage(t testing.TB, field, name string, b []byte) (string, func(*http.Request)) {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile(field, name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return body.String(), header("Content-Type", w.FormDataContentType())
}

func decoded[T any](t testing.TB, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return v
}

func TestPredictAnswersTheOldContractAndMore(t *testing.T) {
	s := testServer(t, newFake())
	asJSON := header("Content-Type", "application/json")
	file, multi := multipartImage(t, "file", "dress.png", testPNG())
	url64 := `{"image":"` + base64.RawURLEncoding.EncodeToString(testPNG()) + `"}`
	dataURI := `{"image":"data:image/png;base64,` + base64.StdEncoding.EncodeToString(testPNG()) + `","more":1}`
	for _, tt := range []struct {
		name, body string
		change     []func(*http.Request)
	}{
		{"JSON with base64", jsonImage(testPNG()), []func(*http.Request){asJSON}},
		{"JSON without a content type", jsonImage(testPNG()), nil},
		{"JSON with the URL alphabet", url64, []func(*http.Request){asJSON}},
		{"JSON with a data URI and a field nobody knows", dataURI, []func(*http.Request){asJSON}},
		{"a form whose client asks for JSON", file, []func(*http.Request){multi, header("Accept", "application/json")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := send(s, "POST", "/predict", tt.body, tt.change...)
			got := decoded[map[string]any](t, w)
			if w.Code != 200 || got["prediction"] != "Dress" || got["probability"] != 0.913 || got["key"] != knownKey || got["model_version"] != champRef.Short() {
				t.Errorf("%d %v", w.Code, got)
			}
		})
	}
}

func TestPredictAnswersAFormWithAPage(t *testing.T) {
	s := testServer(t, newFake())
	body, multi := multipartImage(t, "file", "dress.png", testPNG())
	for name, change := range map[string][]func(*http.Request){"the old page's own call": {multi}, "a browser without script": {multi, header("Accept", "text/html,*/*")}} {
		w := send(s, "POST", "/predict", body, change...)
		page := w.Body.String()
		for _, want := range []string{"Dress", "91.3%", `action="/flag/` + knownKey + `"`, `action="/correct-label/` + knownKey + `"`, `name="corrected_class"`, "Ankle boot", "data:image/png;base64,"} {
			if w.Code != 200 || !strings.Contains(page, want) {
				t.Errorf("%s: %d, page without %q", name, w.Code, want)
			}
		}
	}
}

func TestPredictRefusesNonsenseAndSaysWhatWouldBeRight(t *testing.T) {
	asJSON := header("Content-Type", "application/json")
	wrongField, multi := multipartImage(t, "picture", "a.png", testPNG())
	empty, multiEmpty := multipartImage(t, "file", "a.png", nil)
	big := bytes.Repeat([]byte("x"), 70_000)
	large, multiLarge := multipartImage(t, "file", "a.png", big)
	for _, tt := range []struct {
		name, body string
		change     func(*http.Request)
		status     int
		says       string
	}{
		{"no field image", `{"picture":"x"}`, asJSON, 422, "image is missing"},
		{"null", `{"image":null}`, asJSON, 422, "image is missing"},
		{"wrong JSON", `{"image":`, asJSON, 400, "not the JSON"},
		{"an array", `[]`, asJSON, 400, "not the JSON"},
		{"a number for an image", `{"image":7}`, asJSON, 400, "not the JSON"},
		{"no base64", `{"image":"***"}`, asJSON, 400, "not base64"},
		{"no image", jsonImage([]byte("hello")), asJSON, 400, "no JPEG or PNG"},
		{"a cut image", jsonImage(testPNG()[:60]), asJSON, 400, "no JPEG or PNG"},
		{"another field", wrongField, multi, 422, "no field file"},
		{"an empty file", empty, multiEmpty, 422, "empty"},
		{"a form cut short", wrongField[:80], multi, 400, "form can't be read"},
		{"a file over the limit", large, multiLarge, 413, "65536 bytes"},
		{"JSON over the limit", jsonImage(bytes.Repeat(big, 4)), asJSON, 413, "larger than the limit"},
		{"another content type", "x", header("Content-Type", "text/plain"), 415, "want application/json"},
		{"a content type that is none", "x", header("Content-Type", ";;"), 415, "can't be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := testServer(t, newFake(), func(o *Options) { o.MaxUploadBytes = 65_536 })
			w := send(s, "POST", "/predict", tt.body, tt.change, header("Accept", "application/json"))
			p := decoded[Problem](t, w)
			if w.Code != tt.status || p.Status != tt.status || !strings.Contains(p.Detail, tt.says) || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%d %s %+v, want %d and %q", w.Code, w.Header().Get("Content-Type"), p, tt.status, tt.says)
			}
		})
	}
}

func TestPredictSaysWhyItCannotServe(t *testing.T) {
	for kind, want := range map[error]int{dg.ErrFull: 503, dg.ErrIncomplete: 503, fmt.Errorf("disk on fire at /secret/path"): 500} {
		f := newFake()
		f.err = fmt.Errorf("serving: predict: %w", kind)
		w := send(testServer(t, f), "POST", "/predict", jsonImage(testPNG()))
		p := decoded[Problem](t, w)
		if w.Code != want || (want == 503) != (w.Header().Get("Retry-After") != "") {
			t.Errorf("%v: %d, Retry-After %q, want %d", kind, w.Code, w.Header().Get("Retry-After"), want)
		}
		if want == 500 && strings.Contains(p.Detail, "secret") {
			t.Errorf("a stranger is told %q", p.Detail)
		}
	}
}

func TestPredictBoundsHowManyAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.block = make(chan struct{})
		s := testServer(t, f, func(o *Options) { o.MaxInFlight = 2 })
		codes := make(chan int, 3)
		for range 3 {
			go func() { codes <- send(s, "POST", "/predict", jsonImage(testPNG())).Code }()
		}
		if got := <-codes; got != http.StatusServiceUnavailable {
			t.Errorf("the third of two answers %d, want 503 after a wait", got)
		}
		close(f.block)
		if a, b := <-codes, <-codes; a != 200 || b != 200 {
			t.Errorf("the first two answer %d and %d", a, b)
		}
	})
}

func TestAPanicIsA500AndTheServerGoesOn(t *testing.T) {
	f := newFake()
	s := testServer(t, f)
	f.panics = true
	if w := send(s, "POST", "/predict", jsonImage(testPNG())); w.Code != 500 || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	f.panics = false
	if w := send(s, "POST", "/predict", jsonImage(testPNG())); w.Code != 200 {
		t.Errorf("afterwards %d", w.Code)
	}
}

func TestFlagAndCorrect(t *testing.T) {
	good, kind := form(url.Values{"corrected_class": {"T-shirt/top"}})
	other, _ := form(url.Values{"corrected_class": {"Pizza"}})
	asJSON := header("Content-Type", "application/json")
	multi, multiKind := func() (string, func(*http.Request)) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		_ = w.WriteField("corrected_class", "Coat")
		_ = w.Close()
		return b.String(), header("Content-Type", w.FormDataContentType())
	}()
	const unknown = "class_03/00000000-0000-4000-8000-000000000000.png"
	for _, tt := range []struct {
		name, target, body string
		change             func(*http.Request)
		status             int
		corrected          string
	}{
		{"a flag", "/flag/" + knownKey, "", kind, 204, ""},
		{"a flag on an unknown key", "/flag/" + unknown, "", kind, 404, ""},
		{"a flag on what is no key", "/flag/nonsense", "", kind, 404, ""},
		{"a flag on a path out of the bucket", "/flag/class_03/../../x", "", kind, 404, ""},
		{"a correction as a form", "/correct-label/" + knownKey, good, kind, 204, "T-shirt/top"},
		{"a correction as a multipart form", "/correct-label/" + knownKey, multi, multiKind, 204, "Coat"},
		{"a correction as JSON", "/correct-label/" + knownKey, `{"corrected_class":"Bag"}`, asJSON, 204, "Bag"},
		{"an unknown class", "/correct-label/" + knownKey, other, kind, 422, ""},
		{"no class", "/correct-label/" + knownKey, "", kind, 422, ""},
		{"JSON without a class", "/correct-label/" + knownKey, `{}`, asJSON, 422, ""},
		{"wrong JSON", "/correct-label/" + knownKey, `{`, asJSON, 400, ""},
		{"an unknown key", "/correct-label/" + unknown, good, kind, 404, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			w := send(testServer(t, f), "POST", tt.target, tt.body, tt.change)
			if w.Code != tt.status || f.corrected[knownKey] != tt.corrected {
				t.Errorf("%d %s, corrected %q; want %d and %q", w.Code, w.Body, f.corrected[knownKey], tt.status, tt.corrected)
			}
			if flagged := tt.name == "a flag"; flagged != (len(f.flags) == 1) {
				t.Errorf("flags %v", f.flags)
			}
		})
	}
}

func TestABrowserWithoutScriptGetsAPageForItsFlag(t *testing.T) {
	w := send(testServer(t, newFake()), "POST", "/flag/"+knownKey, "", header("Accept", "text/html"), header("Sec-Fetch-Mode", "navigate"))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "Thank you") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestImagesGoOutAsPicturesOnly(t *testing.T) {
	s := testServer(t, newFake())
	w := do(s, "GET", "/image/"+knownKey, bearer(testToken))
	if w.Code != 200 || w.Header().Get("Content-Type") != "image/png" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "sandbox") || !bytes.Equal(w.Body.Bytes(), testPNG()) {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if got := do(s, "GET", "/image/class_03/nothing.png", bearer(testToken)).Code; got != 404 {
		t.Errorf("an unknown image: %d", got)
	}
}

func TestReadyAsksForAModel(t *testing.T) {
	f := newFake()
	s := testServer(t, f)
	if got := do(s, "GET", "/-/ready").Code; got != 200 {
		t.Errorf("ready with a model: %d", got)
	}
	f.unloaded = true
	if got := do(s, "GET", "/-/ready").Code; got != 503 {
		t.Errorf("ready without a model: %d", got)
	}
	if got := do(s, "GET", "/-/healthy").Code; got != 200 {
		t.Errorf("healthy without a model: %d", got)
	}
}

func FuzzPredictNeverPanics(f *testing.F) {
	file, _ := multipartImage(f, "file", "a.png", testPNG())
	f.Add(jsonImage(testPNG()), "application/json")
	f.Add(file, "multipart/form-data; boundary=x")
	s := testServer(f, newFake())
	f.Fuzz(func(t *testing.T, body, kind string) {
		w := send(s, "POST", "/predict", body, header("Content-Type", kind))
		if w.Code >= 500 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
