package web

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	dg "driftgate"
)

// recordedAlert is what a real Alertmanager sent, about the model of these tests.
func recordedAlert(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../../alerts/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), `"model":"fraud"`, `"model":"garments"`)
}

func TestWebhookRecordsBeforeItAnswers(t *testing.T) {
	f := newFake()
	s := testServer(t, f)
	for i, name := range []string{"webhook-firing.json", "webhook-repeated.json", "webhook-resolved.json"} {
		w := send(s, "POST", "/api/v1/alerts", recordedAlert(t, name), bearer(alertToken))
		if w.Code != http.StatusAccepted || len(f.triggers) != i+1 {
			t.Fatalf("%s: %d %s, %d triggers recorded", name, w.Code, w.Body, len(f.triggers))
		}
	}
	first, repeated, resolved := f.triggers[0], f.triggers[1], f.triggers[2]
	if first.DedupeKey != repeated.DedupeKey || first.DedupeKey != resolved.DedupeKey {
		t.Errorf("dedupe keys %q, %q, %q: want one", first.DedupeKey, repeated.DedupeKey, resolved.DedupeKey)
	}
	if first.Resolved || !resolved.Resolved || first.Source != dg.FromAlertmanager || first.Model != "garments" {
		t.Errorf("triggers %+v and %+v", first, resolved)
	}
}

func TestWebhookAnswers(t *testing.T) {
	firing := recordedAlert(t, "webhook-firing.json")
	basic := func(r *http.Request) { r.SetBasicAuth("alertmanager", alertToken) }
	for _, tt := range []struct {
		name, body string
		change     func(*http.Request)
		inbox      error
		status     int
		recorded   int
	}{
		{"the alerts token as bearer", firing, bearer(alertToken), nil, 202, 1},
		{"the alerts token as basic password", firing, basic, nil, 202, 1},
		{"the token as bearer", firing, bearer(testToken), nil, 202, 1},
		{"no token", firing, header("X", "y"), nil, 401, 0},
		{"a wrong token", firing, bearer("x"), nil, 401, 0},
		{"another model is ignored, and that is fine", strings.ReplaceAll(firing, `"model":"garments"`, `"model":"spam"`), basic, nil, 200, 0},
		{"another action is ignored, and that is fine", strings.ReplaceAll(firing, `"action":"retrain"`, `"action":"page"`), basic, nil, 200, 0},
		{"nonsense", "{", basic, nil, 400, 0},
		{"another version", strings.Replace(firing, `"version":"4"`, `"version":"3"`, 1), basic, nil, 400, 0},
		{"too large", `{"version":"4","x":"` + strings.Repeat("x", maxAlertBytes) + `"}`, basic, nil, 413, 0},
		{"the inbox is broken: come again", firing, basic, errors.New("disk full at /secret"), 503, 0},
		{"the inbox refuses: don't come again", firing, basic, dg.ErrInvalid, 400, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			f.inboxErr = tt.inbox
			w := send(testServer(t, f), "POST", "/api/v1/alerts", tt.body, tt.change)
			if w.Code != tt.status || len(f.triggers) != tt.recorded {
				t.Errorf("%d %s, %d recorded; want %d and %d", w.Code, w.Body, len(f.triggers), tt.status, tt.recorded)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("the answer tells %s", w.Body)
			}
		})
	}
}

func TestTheOldTriggerRoutesStartARetraining(t *testing.T) {
	for _, route := range []string{"/pipeline/start", "/trigger-training"} {
		f := newFake()
		s := testServer(t, f)
		w := do(s, "POST", route, bearer(testToken))
		if got := decoded[retrainAnswer](t, w); w.Code != 202 || got.Run != knownRun || f.triggers[0].Source != dg.FromPerson {
			t.Errorf("%s: %d %+v", route, w.Code, got)
		}
		f.decision = dg.Busy
		w = do(s, "POST", route, bearer(testToken))
		if got := decoded[Problem](t, w); w.Code != http.StatusLocked || got.RunID != "retrain-garments-8f2c1a" {
			t.Errorf("%s while busy: %d %+v, want 423 with the run under way", route, w.Code, got)
		}
		f.decision = dg.Budget
		if got := do(s, "POST", route, bearer(testToken)).Code; got != http.StatusConflict {
			t.Errorf("%s without budget: %d, want 409", route, got)
		}
		f.inboxErr = errors.New("no")
		if got := do(s, "POST", route, bearer(testToken)).Code; got != http.StatusInternalServerError {
			t.Errorf("%s with a broken inbox: %d, want an honest 500", route, got)
		}
	}
}

func TestEveryKindOfErrorHasItsStatus(t *testing.T) {
	for kind, want := range map[error]int{
		dg.ErrInvalid: 422, dg.ErrNotFound: 404, dg.ErrConflict: 409, dg.ErrBusy: 423, dg.ErrRefused: 409, dg.ErrFull: 503,
		dg.ErrIncomplete: 503, dg.ErrTooFewSamples: 409, dg.ErrUnauthorized: 401, errors.New("other"): 500, &http.MaxBytesError{}: 413,
	} {
		if got := statusOf(errors.Join(errors.New("x"), kind)); got != want {
			t.Errorf("%v: %d, want %d", kind, got, want)
		}
	}
}
