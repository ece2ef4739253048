package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"driftgate/alerts"
	"driftgate/metrics"
)

// checkWindows compares the windows that the rules which ship ask for with the
// ones that this gateway exports.
func (a *App) checkWindows(context.Context) finding {
	const fix = "change metrics.windows and restart, or load rules of your own: driftgate rules --slo FILE"
	text, err := alerts.Files.ReadFile("slo.yml")
	if err != nil {
		return broken(err, fix)
	}
	slo, err := alerts.ParseSLO(text)
	if err != nil {
		return broken(err, fix)
	}
	if err := slo.AnsweredBy(a.Config.Metrics.Windows); err != nil {
		return warn(fix, "of the rules that ship: %v", err)
	}
	return pass("every window of the rules that ship is exported")
}

// windowNames are the windows that this gateway exports.
func (a *App) windowNames() (names []string) {
	for _, w := range a.Config.Metrics.Windows {
		names = append(names, metrics.WindowName(w))
	}
	return names
}

// loadedRule is a rule as Prometheus tells it.
type loadedRule struct {
	Name      string `json:"name"`
	Query     string `json:"query"`
	Health    string `json:"health"`
	LastError string `json:"lastError"`
}

const loadRules = "driftgate rules --slo FILE > rules.yml, name it under rule_files, and reload Prometheus"

// checkRules looks for our rule groups among the loaded ones, and for what keeps
// a loaded rule from ever firing.
func (p *asked) checkRules(ctx context.Context) finding {
	var data struct {
		Groups []struct {
			Name  string       `json:"name"`
			Rules []loadedRule `json:"rules"`
		} `json:"groups"`
	}
	if _, err := p.get(ctx, "rules", nil, &data); err != nil {
		return broken(err, "see Prometheus' log")
	}
	shipped, err := alerts.Shipped()
	if err != nil {
		return broken(err, "this build is damaged: install it anew")
	}
	loaded := map[string][]loadedRule{}
	for _, g := range data.Groups {
		if _, ours := shipped[g.Name]; ours {
			loaded[g.Name] = append(loaded[g.Name], g.Rules...)
		}
	}
	var groups, rules []string
	for name, want := range shipped {
		if loaded[name] == nil {
			groups = append(groups, name)
			continue
		}
		for _, rule := range want {
			if !slices.ContainsFunc(loaded[name], func(r loadedRule) bool { return r.Name == rule }) {
				rules = append(rules, rule)
			}
		}
	}
	slices.Sort(groups)
	slices.Sort(rules)
	if len(groups) > 0 {
		return broken(fmt.Errorf("not loaded: %s", strings.Join(groups, ", ")), loadRules)
	}
	if faults := p.faults(loaded); len(faults) > 0 {
		slices.Sort(faults)
		return broken(errors.New(strings.Join(slices.Compact(faults), "\n")), "mend slo.yml or the gateway's metrics.windows, then "+loadRules)
	}
	if len(rules) > 0 {
		return warn(loadRules, "of another build; of this one are missing: %s", strings.Join(rules, ", "))
	}
	return pass("%d groups, every rule evaluates, every window is exported", len(shipped))
}

var jobMatcher = regexp.MustCompile(`\bjob="([^"]*)"`)

// faults are the reasons for which loaded rules fail or never fire.
func (p *asked) faults(loaded map[string][]loadedRule) (found []string) {
	for _, rules := range loaded {
		for _, r := range rules {
			if r.Health == "err" {
				found = append(found, fmt.Sprintf("%s fails: %s", r.Name, r.LastError))
			}
			for _, w := range alerts.Unanswered(r.Query, p.windows) {
				found = append(found, fmt.Sprintf("%s asks for window %s, which this gateway does not export: it never fires", r.Name, w))
			}
			for _, m := range jobMatcher.FindAllStringSubmatch(r.Query, -1) {
				if p.job != "" && m[1] != p.job {
					found = append(found, fmt.Sprintf("%s asks for job %s, and this gateway is scraped as job %s: it never fires", r.Name, m[1], p.job))
				}
			}
		}
	}
	return found
}

// checkAlertmanager looks for one that Prometheus sends to and, where it can be
// reached from here, for a webhook in its configuration. Where that leads,
// Alertmanager tells nobody.
func (p *asked) checkAlertmanager(ctx context.Context) finding {
	var data struct {
		Active []struct {
			URL string `json:"url"`
		} `json:"activeAlertmanagers"`
	}
	if _, err := p.get(ctx, "alertmanagers", nil, &data); err != nil {
		return broken(err, "see Prometheus' log")
	}
	if len(data.Active) == 0 {
		return broken(errors.New("Prometheus sends its alerts to nobody"), "name an Alertmanager under alerting.alertmanagers, as deploy/prometheus.yml does")
	}
	var said []string
	for _, a := range data.Active {
		base := strings.TrimSuffix(a.URL, "/api/v2/alerts")
		shown := base
		if u, err := url.Parse(base); err == nil {
			shown = u.Redacted()
		}
		routes, err := delivers(ctx, base)
		switch {
		case err != nil:
			shown += " (not reached from here, its configuration was not looked at)"
		case !routes:
			return broken(fmt.Errorf("%s: no receiver has a webhook, so no gateway hears of alerts", shown), "add the receiver and its route of deploy/alertmanager.yml")
		default:
			shown += ", with a webhook"
		}
		said = append(said, shown)
	}
	return pass("%s", strings.Join(said, "; "))
}

// delivers reports whether an Alertmanager's configuration has a webhook.
func delivers(ctx context.Context, base string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v2/status", nil)
	if err != nil {
		return false, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	var status struct {
		Config struct {
			Original string `json:"original"`
		} `json:"config"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxPrometheusAnswer)).Decode(&status); err != nil || status.Config.Original == "" {
		return false, fmt.Errorf("%s answers %s: %w", base, resp.Status, errors.Join(err, errors.New("no configuration")))
	}
	return strings.Contains(status.Config.Original, "webhook_configs:"), nil
}
