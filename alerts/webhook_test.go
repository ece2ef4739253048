package alerts

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	dg "driftgate"
)

var fraud = Options{Models: map[string]struct{}{"fraud": {}}, Window: time.Hour}

func recorded(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParseReadsWhatARealAlertmanagerSent(t *testing.T) {
	start := time.Date(2026, 11, 22, 4, 14, 23, 45_000_000, time.UTC)
	key := ""
	for _, tt := range []struct {
		file     string
		resolved bool
	}{{"webhook-firing.json", false}, {"webhook-repeated.json", false}, {"webhook-resolved.json", true}} {
		t.Run(tt.file, func(t *testing.T) {
			d, err := Parse(strings.NewReader(recorded(t, tt.file)), fraud)
			if err != nil {
				t.Fatal(err)
			}
			if len(d.Triggers) != 1 || len(d.Ignored) != 0 || d.Truncated != 0 {
				t.Fatalf("got %+v, want one trigger and nothing else", d)
			}
			got := d.Triggers[0]
			want := dg.Trigger{
				Source: dg.FromAlertmanager, Model: "fraud", Reason: "ModelAccuracyLow: Accuracy of fraud/v7 is 60%",
				DedupeKey: "242bbdbd923e1737+2026-11-22T04:14:23.045Z", Since: start.Add(-time.Hour), Resolved: tt.resolved,
			}
			if got != want {
				t.Errorf("trigger\n got %+v\nwant %+v", got, want)
			}
			if key == "" {
				key = got.DedupeKey
			}
			if got.DedupeKey != key {
				t.Errorf("dedupe key %q differs from the first delivery's %q", got.DedupeKey, key)
			}
		})
	}
}

// edit changes the recorded firing body as generic JSON.
func edit(t *testing.T, change func(body, alert, labels map[string]any)) string {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(recorded(t, "webhook-firing.json")), &body); err != nil {
		t.Fatal(err)
	}
	alert := body["alerts"].([]any)[0].(map[string]any)
	change(body, alert, alert["labels"].(map[string]any))
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParseSortsAlerts(t *testing.T) {
	for _, tt := range []struct {
		name     string
		change   func(body, alert, labels map[string]any)
		triggers int
		ignored  string // part of the reason
	}{
		{"unknown fields are fine", func(b, a, _ map[string]any) { b["new"] = 1; a["new"] = []int{1} }, 1, ""},
		{"an alert without the label is ignored", func(_, _, l map[string]any) { delete(l, "action") }, 0, `no label action="retrain"`},
		{"another action is ignored", func(_, _, l map[string]any) { l["action"] = "page" }, 0, `no label action="retrain"`},
		{"a model not served here is ignored", func(_, _, l map[string]any) { l["model"] = "spam" }, 0, `model "spam"`},
		{"an alert without a model is ignored", func(_, _, l map[string]any) { delete(l, "model") }, 0, `model ""`},
		{"an ignored alert need not be well formed", func(_, a, l map[string]any) { delete(l, "action"); delete(a, "startsAt") }, 0, "no label"},
		{"each alert's own status counts, not the group's", func(b, a, _ map[string]any) {
			second := map[string]any{"status": "resolved", "labels": a["labels"], "startsAt": a["startsAt"], "fingerprint": "other"}
			b["alerts"] = []any{a, second}
		}, 2, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Parse(strings.NewReader(edit(t, tt.change)), fraud)
			if err != nil {
				t.Fatal(err)
			}
			if len(d.Triggers) != tt.triggers {
				t.Errorf("%d triggers, want %d", len(d.Triggers), tt.triggers)
			}
			if got := strings.Join(d.Ignored, "; "); !strings.Contains(got, tt.ignored) || (tt.ignored == "") != (got == "") {
				t.Errorf("ignored %q, want %q in it", got, tt.ignored)
			}
			if tt.triggers == 2 && (d.Triggers[0].Resolved || !d.Triggers[1].Resolved) {
				t.Errorf("resolved: %v, %v, want false, true", d.Triggers[0].Resolved, d.Triggers[1].Resolved)
			}
		})
	}
}

func TestParseRefusesNonsense(t *testing.T) {
	for _, tt := range []struct{ name, body, text string }{
		{"nothing", "", "want the JSON"},
		{"no JSON", "hello", "byte 1"},
		{"cut short", recorded(t, "webhook-firing.json")[:200], "want the JSON"},
		{"an array", "[]", "want the JSON"},
		{"two documents", recorded(t, "webhook-firing.json") + "{}", "nothing after it"},
		{"another version", edit(t, func(b, _, _ map[string]any) { b["version"] = "3" }), `"3", want "4"`},
		{"no alerts", edit(t, func(b, _, _ map[string]any) { b["alerts"] = []any{} }), "no alerts"},
		{"an unknown status", edit(t, func(_, a, _ map[string]any) { a["status"] = "maybe" }), "alerts[0]: status"},
		{"no fingerprint", edit(t, func(_, a, _ map[string]any) { delete(a, "fingerprint") }), "alerts[0]: fingerprint"},
		{"no start", edit(t, func(_, a, _ map[string]any) { delete(a, "startsAt") }), "alerts[0]: no startsAt"},
		{"alerts that are no list", edit(t, func(b, _, _ map[string]any) { b["alerts"] = "many" }), "want a list"},
		{"no alerts at all", edit(t, func(b, _, _ map[string]any) { b["alerts"] = nil }), "no alerts"},
		{"an alert that is none", edit(t, func(b, a, _ map[string]any) { b["alerts"] = []any{a, 7} }), "want the JSON"},
		{"too many alerts", edit(t, func(b, a, _ map[string]any) { b["alerts"] = slices.Repeat([]any{a}, MaxAlerts+1) }), "more than 10000 alerts"},
		{"a time that is none", edit(t, func(_, a, _ map[string]any) { a["startsAt"] = "yesterday" }), "want the JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(tt.body), fraud)
			if !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want ErrInvalid with %q", err, tt.text)
			}
		})
	}
}

// TestParseReadsNoMoreThanItTakes gives it a body whose alerts would be forty
// times as large in memory.
func TestParseReadsNoMoreThanItTakes(t *testing.T) {
	body := `{"version":"4","alerts":[` + strings.Repeat("{},", 1_000_000) + `{}]}`
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Parse(strings.NewReader(body), fraud)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("error %v, want ErrInvalid", err)
	}
	// The decoder's buffer doubles up to the body's 3 MB; the rest is 10,000 alerts.
	if n := after.TotalAlloc - before.TotalAlloc; n > 32<<20 {
		t.Errorf("a body of %d bytes took %d bytes", len(body), n)
	}
}

func TestParsePassesTransportErrorsOn(t *testing.T) {
	broken := errors.New("connection reset")
	_, err := Parse(io.MultiReader(strings.NewReader(`{"version"`), failing{broken}), fraud)
	if !errors.Is(err, broken) || errors.Is(err, dg.ErrInvalid) {
		t.Errorf("error %v, want the reader's own, not ErrInvalid", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestParseBoundsTextFromOutside(t *testing.T) {
	body := edit(t, func(_, a, l map[string]any) {
		l["alertname"] = strings.Repeat("ä", 10_000)
		a["annotations"] = map[string]any{"summary": strings.Repeat("b", 10_000)}
	})
	d, err := Parse(strings.NewReader(body), fraud)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(d.Triggers[0].Reason); n > 2*maxText+20 {
		t.Errorf("reason has %d bytes", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"webhook-firing.json", "webhook-resolved.json"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, body string) {
		d, err := Parse(strings.NewReader(body), fraud)
		if err != nil {
			if len(d.Triggers) > 0 {
				t.Error("triggers beside an error")
			}
			return
		}
		for _, tr := range d.Triggers {
			if tr.Model != "fraud" || tr.DedupeKey == "" || tr.Source != dg.FromAlertmanager {
				t.Errorf("half a trigger: %+v", tr)
			}
		}
	})
}
