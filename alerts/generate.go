package alerts

import (
	"bytes"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"text/template"
)

//go:embed rules.tmpl
var rulesTemplate string

// Prometheus has {{ }} for its own templates.
var rules = template.Must(template.New("rules.tmpl").Delims("[[", "]]").Parse(rulesTemplate))

// Generate writes Prometheus' recording and alerting rules for s, which comes
// from [ParseSLO]. The same s always gives the same bytes.
func Generate(s SLO) ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("alerts: generate rules: %w", err)
	}
	var b bytes.Buffer
	if err := rules.Execute(&b, s); err != nil {
		return nil, fmt.Errorf("alerts: generate rules: %w", err)
	}
	return b.Bytes(), nil
}

// Pace is the burn rate as the rules have it, short enough to read.
func (s SLO) Pace(b BurnRate) string {
	return strconv.FormatFloat(b.Factor(s.Period), 'g', 4, 64)
}

// Links are the annotations that lead from an alert to its runbook section and
// its dashboard; model says whether the alert is about one.
func (s SLO) Links(anchor, dashboard string, model bool) string {
	variables := ""
	if model {
		variables = "?var-model={{ $labels.model }}"
	}
	return strings.Join([]string{
		fmt.Sprintf("runbook_url: %q", s.Runbooks+"#"+anchor),
		fmt.Sprintf("dashboard_url: %q", s.Dashboards+"/"+dashboard+variables),
	}, "\n          ")
}
