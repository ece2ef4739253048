package alerts

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	dg "driftgate"
	"driftgate/metrics"
)

const hour = time.Hour

func TestAWindowThatNobodyExportsIsNamedWithItsKey(t *testing.T) {
	s := shipped(t)
	for _, tt := range []struct {
		name    string
		windows []time.Duration
		says    []string // nothing: all is answered
	}{
		{"the three that slo.yml asks for", []time.Duration{6 * hour, 24 * hour, 7 * 24 * hour}, nil},
		{"more than it asks for", []time.Duration{time.Minute, 6 * hour, 24 * hour, 48 * hour, 7 * 24 * hour}, nil},
		{"without the short one", []time.Duration{24 * hour, 7 * 24 * hour}, []string{"burn_rates[0].short 6h", "metrics.windows are 24h, 7d,"}},
		{"without the headline's", []time.Duration{6 * hour, 7 * 24 * hour}, []string{"window 24h", "burn_rates[0].long 24h", "burn_rates[1].short 24h"}},
		{"of odd lengths", []time.Duration{90 * time.Second}, []string{"metrics.windows are 1m30s,", "burn_rates[1].long 7d"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := s.AnsweredBy(tt.windows)
			if (err == nil) != (tt.says == nil) || err != nil && !errors.Is(err, dg.ErrInvalid) {
				t.Fatalf("got %v", err)
			}
			for _, words := range tt.says {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("%v: want %q", err, words)
				}
			}
			if err != nil && strings.Contains(err.Error(), "burn_rates[1].long") != !slices.Contains(tt.windows, 7*24*hour) {
				t.Errorf("%v: says the wrong thing of 7d", err)
			}
		})
	}
}

func TestTheWindowsOfAnExpressionAreReadAsTheyAreExported(t *testing.T) {
	rules, err := Generate(shipped(t))
	if err != nil {
		t.Fatal(err)
	}
	if missing := Unanswered(string(rules), []string{"24h"}); !slices.Equal(missing, []string{"6h", "7d"}) {
		t.Errorf("got %v, want 6h and 7d of the rules that ship", missing)
	}
	for _, expr := range []string{`up == 0`, `x{window="24h"}`, `x{a="b",window="24h"} > 1`, `x{other_window="1h"}`} {
		if missing := Unanswered(expr, []string{"24h"}); missing != nil {
			t.Errorf("%s: %v is missing, want nothing", expr, missing)
		}
	}
	all := []time.Duration{time.Minute, 90 * time.Second, 30 * time.Minute, hour, 24 * hour, 36 * hour, 7 * 24 * hour}
	for i, name := range names(all) {
		if want := metrics.WindowName(all[i]); name != want {
			t.Errorf("%s is called %s here and exported as %s", all[i], name, want)
		}
	}
}

func TestTheShippedGroupsAreThoseOfTheFile(t *testing.T) {
	groups, err := Shipped()
	if err != nil || len(groups) != 3 {
		t.Fatalf("%d groups, %v: want 3", len(groups), err)
	}
	alerts := 0
	for _, a := range alertTexts(t) {
		found := false
		for _, rules := range groups {
			found = found || slices.Contains(rules, a[0])
		}
		if alerts++; !found {
			t.Errorf("%s is in no group", a[0])
		}
	}
	if alerts < 10 || !slices.Contains(groups["driftgate_accuracy"], "model_window:driftgate_window_labels:sum") {
		t.Errorf("%d alerts, groups %v", alerts, groups)
	}
}
