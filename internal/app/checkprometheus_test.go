package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"driftgate"
	"driftgate/alerts"
)

// standIn answers as Prometheus and Alertmanager do; paths below /api/v1 have
// their data, and Date is ours but for late.
type standIn struct {
	data   map[string]any // by path and, for queries, by the expression's first word
	late   time.Duration
	status int // of every answer; 0 is 200
}

func (s standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", time.Now().Add(-s.late).UTC().Format(http.TimeFormat))
	if s.status != 0 {
		w.WriteHeader(s.status)
		return
	}
	if r.URL.Path == "/am/api/v2/status" {
		_ = json.NewEncoder(w).Encode(s.data["alertmanager"])
		return
	}
	key := strings.TrimPrefix(r.URL.Path, "/api/v1/")
	if key == "query" {
		key, _, _ = strings.Cut(r.URL.Query().Get("query"), " ")
	}
	data, ok := s.data[key]
	if !ok {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(map[string]string{"status": "error", "error": "nothing known of " + key})
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": data})
}

func vector(instance string, value float64) any {
	return map[string]any{"resultType": "vector", "result": []any{map[string]any{
		"metric": map[string]string{"instance": instance, "job": "driftgate"}, "value": []any{1.5, fmt.Sprintf("%v", value)},
	}}}
}

// ruleGroups are the shipped groups as Prometheus tells them, every rule changed.
func ruleGroups(t *testing.T, change func(group string, r map[string]string) bool) any {
	t.Helper()
	shipped, err := alerts.Shipped()
	if err != nil {
		t.Fatal(err)
	}
	groups := []any{}
	for name, rules := range shipped {
		var list []any
		for _, rule := range rules {
			r := map[string]string{"name": rule, "health": "ok", "query": `x{window="24h"}`}
			if rule == "GatewayDown" {
				r["query"] = `up{job="driftgate"} == 0`
			}
			if change(name, r) {
				list = append(list, r)
			}
		}
		if list != nil {
			groups = append(groups, map[string]any{"name": name, "rules": list})
		}
	}
	return map[string]any{"groups": groups}
}

func TestCheckSaysWhatKeepsPrometheusFromLookingAfterTheGateway(t *testing.T) {
	const loaded = 1795262485.1234567
	keep := func(string, map[string]string) bool { return true }
	for name, tt := range map[string]struct {
		spoil  func(t *testing.T, s *standIn, p *asked)
		line   string // nothing: all is in order
		status string
		says   []string
	}{
		"all in order": {spoil: func(*testing.T, *standIn, *asked) {}},
		"a clock ten minutes behind": {func(_ *testing.T, s *standIn, _ *asked) { s.late = 630 * time.Second },
			"prometheus", CheckFail, []string{"Prometheus' clock is -10m", "NTP"}},
		"a password that is missing": {func(_ *testing.T, s *standIn, _ *asked) { s.status = 401 },
			"prometheus", CheckFail, []string{"401 Unauthorized", "USER:PASSWORD"}},
		"something that is no Prometheus": {func(_ *testing.T, s *standIn, _ *asked) { s.status = 404 },
			"prometheus", CheckFail, []string{"not as Prometheus does"}},
		"another gateway's series": {func(_ *testing.T, s *standIn, _ *asked) { s.data[loadedSeries] = vector("b", loaded+1) },
			"scrape", CheckFail, []string{"no series of this gateway, of 1 others", "scrape_configs"}},
		"a scrape without the token": {func(_ *testing.T, s *standIn, _ *asked) {
			s.data[loadedSeries] = map[string]any{"result": []any{}}
			s.data["targets"] = map[string]any{"activeTargets": []any{map[string]any{"health": "down", "labels": map[string]string{"job": "driftgate", "instance": "a"},
				"lastError": "server returned HTTP status 401 Unauthorized"}}}
		}, "scrape", CheckFail, []string{"instance a of job driftgate: server returned HTTP status 401", "credentials_file"}},
		"a gateway that has just started": {func(_ *testing.T, s *standIn, p *asked) {
			p.gateway = float64(time.Now().Unix())
		}, "scrape", CheckWarn, []string{"ask again"}},
		"a scrape that has stopped": {func(_ *testing.T, s *standIn, _ *asked) { s.data["time()"] = vector("a", 240) },
			"scrape", CheckFail, []string{"newest sample is 4m0s old"}},
		"no gateway to compare with": {func(_ *testing.T, _ *standIn, p *asked) { p.gateway = 0 },
			"scrape", CheckWarn, []string{"series of 1 gateways"}},
		"a group that is not loaded": {func(t *testing.T, s *standIn, _ *asked) {
			s.data["rules"] = ruleGroups(t, func(g string, _ map[string]string) bool { return g != "driftgate_gateway" })
		}, "loaded rules", CheckFail, []string{"not loaded: driftgate_gateway", "rule_files"}},
		"rules of an older build": {func(t *testing.T, s *standIn, _ *asked) {
			s.data["rules"] = ruleGroups(t, func(_ string, r map[string]string) bool { return r["name"] != "StatsdFailing" })
		}, "loaded rules", CheckWarn, []string{"missing: StatsdFailing"}},
		"a rule that fails": {func(t *testing.T, s *standIn, _ *asked) {
			s.data["rules"] = ruleGroups(t, func(_ string, r map[string]string) bool {
				if r["name"] == "LabelsStale" {
					r["health"], r["lastError"] = "err", "many-to-many matching"
				}
				return true
			})
		}, "loaded rules", CheckFail, []string{"LabelsStale fails: many-to-many matching"}},
		"a window that is not exported": {func(_ *testing.T, _ *standIn, p *asked) { p.windows = []string{"1h"} },
			"loaded rules", CheckFail, []string{"NoLabels asks for window 24h", "metrics.windows"}},
		"a job of another name": {func(t *testing.T, s *standIn, p *asked) {
			s.data["rules"] = ruleGroups(t, func(_ string, r map[string]string) bool {
				r["query"] = strings.ReplaceAll(r["query"], `job="driftgate"`, `job="gateways"`)
				return true
			})
		}, "loaded rules", CheckFail, []string{"GatewayDown asks for job gateways, and this gateway is scraped as job driftgate"}},
		"no Alertmanager": {func(_ *testing.T, s *standIn, _ *asked) {
			s.data["alertmanagers"] = map[string]any{"activeAlertmanagers": []any{}}
		}, "alertmanager", CheckFail, []string{"to nobody"}},
		"an Alertmanager that knows no gateway": {func(_ *testing.T, s *standIn, _ *asked) {
			s.data["alertmanager"] = map[string]any{"config": map[string]string{"original": "receivers: [{name: people}]"}}
		}, "alertmanager", CheckFail, []string{"no receiver has a webhook", "deploy/alertmanager.yml"}},
		"an Alertmanager out of reach": {func(_ *testing.T, s *standIn, _ *asked) {
			s.data["alertmanagers"] = map[string]any{"activeAlertmanagers": []any{map[string]string{"url": "http://127.0.0.1:1/api/v2/alerts"}}}
		}, "alertmanager", CheckOK, []string{"not reached from here"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &standIn{data: map[string]any{
				"status/buildinfo": map[string]string{"version": "3.15.0"}, "rules": ruleGroups(t, keep),
				loadedSeries: vector("a", loaded), "time()": vector("a", 12), "targets": map[string]any{"activeTargets": []any{}},
				"alertmanager": map[string]any{"config": map[string]string{"original": "receivers:\n- name: driftgate\n  webhook_configs:\n  - url: <secret>\n"}},
			}}
			server := httptest.NewServer(s)
			defer server.Close()
			s.data["alertmanagers"] = map[string]any{"activeAlertmanagers": []any{map[string]string{"url": server.URL + "/am/api/v2/alerts"}}}
			p, err := newPrometheus(strings.Replace(server.URL, "http://", "http://someone:hush-hush@", 1))
			if err != nil {
				t.Fatal(err)
			}
			p.gateway, p.windows = loaded, []string{"24h"}
			if tt.spoil(t, s, p); name == "a gateway that has just started" {
				s.data[loadedSeries] = vector("b", 1)
			}
			for _, l := range []look{{"prometheus", p.checkAnswers}, {"scrape", p.checkScrape}, {"loaded rules", p.checkRules}, {"alertmanager", p.checkAlertmanager}} {
				f := l.at(t.Context())
				want := CheckOK
				if l.name == tt.line {
					want = tt.status
					for _, words := range tt.says {
						if !strings.Contains(f.detail+"\n"+f.fix, words) {
							t.Errorf("%s: %+v, want %q", l.name, f, words)
						}
					}
				}
				if s.status == 0 && f.status != want || strings.Contains(f.detail, "hush-hush") {
					t.Errorf("%s: %+v, want %s", l.name, f, want)
				}
			}
		})
	}
}

func TestAPrometheusThatIsNoAddressIsRefused(t *testing.T) {
	for _, address := range []string{"127.0.0.1:9090", "prometheus", "ftp://a", "http://", "http://a/?b=c", "http://a b"} {
		if _, err := newPrometheus(address); !errors.Is(err, driftgate.ErrInvalid) || !strings.Contains(err.Error(), "want http://host:port") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// TestPrometheusIsAskedForTheGatewayThatRuns tells the gateway by what it exports.
func TestPrometheusIsAskedForTheGatewayThatRuns(t *testing.T) {
	s := &standIn{data: map[string]any{"status/buildinfo": map[string]string{"version": "3.15.0"},
		"rules": map[string]any{}, "alertmanagers": map[string]any{}, "time()": vector("a", 3)}}
	server := httptest.NewServer(s)
	defer server.Close()
	c := folder(t)
	running(t, c)
	first, err := Check(t.Context(), c, CheckOptions{})
	if err != nil || first.ConfigLoadedAt < float64(time.Now().Add(-time.Minute).Unix()) || !slices.Contains(first.Windows, "24h") {
		t.Fatalf("%+v, %v: want when the configuration was read and its windows", first, err)
	}
	s.data[loadedSeries] = vector("gateway:8080", first.ConfigLoadedAt)
	report, err := Check(t.Context(), c, CheckOptions{Prometheus: server.URL})
	if err != nil || report.OK {
		t.Fatalf("in order: %v, %v; want not, for no rules are loaded", report.OK, err)
	}
	said := map[string]string{}
	for _, l := range report.Checks {
		said[l.Name] = l.Status + " " + l.Detail
	}
	for line, want := range map[string]string{"prometheus": "ok 3.15.0 at", "scrape": "ok instance gateway:8080 of job driftgate, newest sample 3s old", "loaded rules": "fail not loaded"} {
		if !strings.HasPrefix(said[line], want) {
			t.Errorf("%s: %q, want %q", line, said[line], want)
		}
	}
}
