package experiment

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	dg "driftgate"
)

func TestAFilterPassesWhatItSays(t *testing.T) {
	r := sampleRecord("retrain-1", .9)
	for filter, want := range map[string]bool{
		"":                                true,
		"kind=retrain":                    true,
		"kind=train":                      false,
		"kind!=train state=done":          true,
		"kind=retrain state=failed":       false,
		"metrics.test_accuracy>.85":       true,
		"metrics.test_accuracy>=0.9":      true,
		"metrics.test_accuracy<9e-1":      false,
		"metrics.test_accuracy=.90":       true,
		"metric.test_accuracy>.85":        true,
		"metrics.other>0":                 false,
		"metrics.other<=0":                false,
		"metrics.other!=1":                true, // it has none
		"params.start=warm":               true,
		"params.start!=warm":              false,
		"params.epochs>9":                 true, // 10, not "10"
		"params.epochs>=11":               false,
		"params.labelling.human_weight=3": true,
		"params.start>3":                  false,
		"params.none=":                    true,
		"params.start=":                   false,
		"env.cpus=2":                      true,
		"tag:baseline":                    true,
		"tag:best":                        false,
		"tags.baseline!=x":                true,
		`tags.supplier="new one"`:         true,
		`note~"SECOND:"`:                  true,
		"note~third":                      false,
		"id~retrain":                      true,
		"version=3fa9":                    true,
		"version=sha256:3fa91c7be20d":     true,
		"version=3fa":                     false, // too short to mean one
		"version!=aaaa":                   true,
		"parent=train-0 run=retrain-1":    true,
		"verdict=promote":                 true,
		"error=":                          true,
		"seconds>=3600 seconds<3601":      true,
		"started>2026-02-28":              true,
		"started>2026-03-01T12:00:00Z":    false,
		"started=2026-03-01T12:00:00Z":    true,
		"finished<2026-03-01":             false,
	} {
		f, err := ParseFilter(filter)
		if err != nil {
			t.Errorf("%q: %v", filter, err)
		} else if got := f.Match(r); got != want {
			t.Errorf("%q passes %v, want %v", filter, got, want)
		}
	}
}

func TestAFilterThatMeansNothingSaysWhatWouldBeRight(t *testing.T) {
	for filter, part := range map[string]string{
		"train":                           "kind=train",
		"=train":                          "want terms such as",
		"kin=train":                       "want id, kind, state",
		"kind:train":                      "only tag:NAME has a colon",
		"tag:a/b":                         "tag:NAME",
		"metrics.test_accuracy>high":      `"high" is none`,
		"metrics.test_accuracy=":          "is a number",
		"metrics.test_accuracy>NaN":       "is none",
		"params.>3":                       "want letters",
		"params.a;b=3":                    "want letters",
		"metrics.a')=1":                   "want letters",
		"started>yesterday":               "2026-11-01",
		"started~2026":                    "with a time",
		`note~"open`:                      "quote is not closed",
		"note~":                           "want a text after ~",
		"kind!train":                      "want terms such as",
		strings.Repeat("kind=train ", 51): "at most 50",
		strings.Repeat("x", 2001):         "at most 2000",
	} {
		if _, err := ParseFilter(filter); !errors.Is(err, dg.ErrInvalid) || !strings.Contains(err.Error(), part) {
			t.Errorf("%.60q: %v, want invalid with %q", filter, err, part)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"kind=train", `note~"a b" tag:x`, "metrics.a>1 params.b!=", "started>2026-01-01", "' OR 1=1 --", "\x00=\xff"} {
		f.Add(s)
	}
	r := sampleRecord("a", .9)
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParseFilter(s); err == nil {
			p.Match(r) // whatever it is, it is answered
		} else if !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("%q: %v", s, err)
		}
	})
}

func TestFieldsAndColumnsAreNamedAsTheyAreRead(t *testing.T) {
	for _, name := range append(slices.Clone(plainFields), "metrics.a.b", "params.x", "env.os", "tags.t") {
		if f, err := ParseField(name); err != nil || f.String() != name {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	got, err := ParseColumns("id, param.start,metric.test_accuracy")
	if err != nil || len(got) != 3 || got[1].String() != "params.start" || got[2].Label() != "test_accuracy" {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"id,,kind", "nothing", strings.Repeat("id,", 40) + "id"} {
		if _, err := ParseColumns(bad); !errors.Is(err, dg.ErrInvalid) {
			t.Errorf("columns %.40q: %v", bad, err)
		}
	}
	if all, err := ParseColumns(" "); err != nil || len(all) != len(DefaultColumns) {
		t.Errorf("%v, %v", all, err)
	}
}

func TestRecordsWithoutAValueComeLastEitherWay(t *testing.T) {
	at := func(id string, after time.Duration, metrics map[string]float64, params map[string]string) Record {
		return Record{ID: id, Kind: Train, State: Done, StartedAt: noon.Add(after), Metrics: metrics, Parameters: params}
	}
	records := []Record{
		at("low", 0, map[string]float64{"m": -1}, map[string]string{"p": "9"}),
		at("none", time.Hour, nil, nil),
		at("high", 0, map[string]float64{"m": 3}, map[string]string{"p": "10"}),
		at("late", time.Hour, map[string]float64{"m": 3}, map[string]string{"p": "warm"}),
	}
	for sort, want := range map[string]string{
		"":           "none late low high",
		"-started":   "none late low high",
		"started":    "low high none late",
		"metrics.m":  "low late high none",
		"-metrics.m": "late high low none",
		"params.p":   "low high late none", // 9 before 10, texts after numbers
		"id":         "high late low none",
		"-id":        "none low late high",
	} {
		o, err := ParseOrder(sort)
		if err != nil {
			t.Fatal(err)
		}
		got := slices.Clone(records)
		slices.SortFunc(got, func(a, b Record) int { return o.compare(o.place(&a), o.place(&b)) })
		var ids []string
		for _, r := range got {
			ids = append(ids, r.ID)
		}
		if strings.Join(ids, " ") != want {
			t.Errorf("sort %q: %v, want %s", sort, ids, want)
		}
	}
	if _, err := ParseOrder("-nothing"); !errors.Is(err, dg.ErrInvalid) {
		t.Errorf("an unknown field: %v", err)
	}
}
