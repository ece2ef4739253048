package alerts

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	dg "driftgate"
	"driftgate/internal/estimate"
)

// maxSLO is the largest description that is read, in bytes.
const maxSLO = 64 << 10

// SLO is the promise about a model's production accuracy and what its alerts
// may assume: all that [Generate] needs. Ratios run 0 to 1.
type SLO struct {
	Objective      float64    `yaml:"objective"`             // share of predictions that are right
	Period         Span       `yaml:"period"`                // over which the objective holds
	Window         Span       `yaml:"window"`                // the headline figure's
	Tolerance      float64    `yaml:"tolerance"`             // how far below the reference the upper bound may lie
	MinLabels      int        `yaml:"min_labels"`            // labels in the long window, below which no budget burns
	ReachableError float64    `yaml:"reachable_error_ratio"` // error ratio that may really be reached; 0 is 0.5
	BurnRates      []BurnRate `yaml:"burn_rates"`
	LabelsStale    Span       `yaml:"labels_stale"` // age of the newest label
	Job            string     `yaml:"job"`          // scrape job of the gateways
	Runbooks       string     `yaml:"runbooks"`     // URL of the page with a section an alert
	Dashboards     string     `yaml:"dashboards"`   // URL under which Grafana shows a dashboard by its uid
}

// BurnRate is one pace of spending the error budget that people hear of.
type BurnRate struct {
	Long     Span    `yaml:"long"`   // shows that it matters
	Short    Span    `yaml:"short"`  // shows that it goes on
	Budget   float64 `yaml:"budget"` // share of the period's error budget spent in the long window
	Severity string  `yaml:"severity"`
}

// Factor is the [estimate.BurnFactor] of the long window.
func (b BurnRate) Factor(period Span) float64 {
	return estimate.BurnFactor(b.Budget, time.Duration(b.Long), time.Duration(period))
}

// Span is a length of time, written as driftgate's windows are: 30m, 6h, 24h, 7d.
type Span time.Duration

const day = Span(24 * time.Hour)

var span = regexp.MustCompile(`^([1-9][0-9]{0,4})([mhd])$`)

// UnmarshalYAML reads what String writes, and every whole number of minutes,
// hours or days.
func (s *Span) UnmarshalYAML(b []byte) error {
	m := span.FindStringSubmatch(strings.Trim(string(b), "\"' \n"))
	if m == nil {
		return fmt.Errorf("%.40q: want a span such as 30m, 24h or 7d", b)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return err
	}
	*s = Span(n) * map[string]Span{"m": Span(time.Minute), "h": Span(time.Hour), "d": day}[m[2]]
	return nil
}

// String is the span as the label window and PromQL have it.
func (s Span) String() string {
	switch {
	case s > day && s%day == 0:
		return strconv.Itoa(int(s/day)) + "d"
	case s%Span(time.Hour) == 0:
		return strconv.Itoa(int(s/Span(time.Hour))) + "h"
	}
	return strconv.Itoa(int(s/Span(time.Minute))) + "m"
}

// ParseSLO reads a description such as slo.yml: strict, whole and checked. The
// error is [dg.ErrInvalid] and lists every mistake.
func ParseSLO(b []byte) (SLO, error) {
	var s SLO
	if len(b) > maxSLO {
		return s, fmt.Errorf("alerts: read slo: %d bytes, want at most %d: %w", len(b), maxSLO, dg.ErrInvalid)
	}
	if err := yaml.UnmarshalWithOptions(b, &s, yaml.Strict()); err != nil {
		return SLO{}, fmt.Errorf("alerts: read slo: %w: %w", err, dg.ErrInvalid)
	}
	if s.ReachableError == 0 {
		s.ReachableError = 0.5
	}
	if err := s.validate(); err != nil {
		return SLO{}, fmt.Errorf("alerts: read slo: %w: %w", err, dg.ErrInvalid)
	}
	return s, nil
}

var jobName = regexp.MustCompile(`^[a-zA-Z0-9_./:-]{1,100}$`)

func (s SLO) validate() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	inside := func(v float64) bool { return v > 0 && v < 1 } // refuses NaN too
	want(inside(s.Objective), "objective %g: want between 0 and 1, not a percentage", s.Objective)
	want(inside(s.ReachableError), "reachable_error_ratio %g: want between 0 and 1", s.ReachableError)
	want(s.Tolerance >= 0 && s.Tolerance < 1, "tolerance %g: want at least 0 and below 1", s.Tolerance)
	want(s.MinLabels >= 30, "min_labels %d: want at least 30, below which driftgate shows no figure", s.MinLabels)
	want(s.Period > 0, "period: missing, want a span such as 30d")
	want(s.Window > 0, "window: missing, want a span such as 24h")
	want(s.LabelsStale > 0, "labels_stale: missing, want a span such as 2d")
	want(jobName.MatchString(s.Job), "job %.40q: want the name of the gateways' scrape job", s.Job)
	for _, u := range []struct{ key, text string }{{"runbooks", s.Runbooks}, {"dashboards", s.Dashboards}} {
		want(isURL(u.text), "%s %.100q: want an http or https URL without quotes, braces, query and fragment", u.key, u.text)
	}
	for i, b := range s.BurnRates {
		if err := s.feasible(b); err != nil {
			errs = append(errs, fmt.Errorf("burn_rates[%d]: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && len(text) <= 500 &&
		!strings.ContainsAny(text, "\"'{}[]#?\\ ") && !strings.HasSuffix(text, "/")
}

// feasible refuses a burn rate that is none, or that needs an error which the
// model will never have: accuracy is no availability, where everything can fail.
func (s SLO) feasible(b BurnRate) error {
	switch {
	case b.Severity != "critical" && b.Severity != "warning" && b.Severity != "info":
		return fmt.Errorf("severity %.40q: want critical, warning or info", b.Severity)
	case b.Short <= 0 || b.Short >= b.Long || b.Long > s.Period:
		return fmt.Errorf("short %s, long %s: want short below long, and long at most the period %s", b.Short, b.Long, s.Period)
	case !(b.Budget > 0 && b.Budget <= 1):
		return fmt.Errorf("budget %g: want over 0, at most 1", b.Budget)
	}
	spare := 1 - s.Objective
	factor := b.Factor(s.Period)
	rate, unreachable := estimate.BurnErrorRate(factor, s.Objective, s.ReachableError)
	sum := fmt.Sprintf("%g of the error budget of %s spent in %s is %g x %s / %s = %.4g times the pace that the objective allows; it takes an error of %.4g x (1 - %g) = %.4g",
		b.Budget, s.Period, b.Long, b.Budget, s.Period, b.Long, factor, factor, s.Objective, rate)
	switch {
	case factor <= 1:
		return fmt.Errorf("%s: no more than the objective allows; take a budget over %.4g", sum, float64(b.Long)/float64(s.Period))
	case unreachable != nil:
		return fmt.Errorf("%s, and reachable_error_ratio is %g: it would never fire; take a budget below %.4g or a long window over %.4g hours",
			sum, s.ReachableError, s.ReachableError*float64(b.Long)/(spare*float64(s.Period)),
			b.Budget*time.Duration(s.Period).Hours()*spare/s.ReachableError)
	}
	return nil
}

// Seconds is the span as PromQL compares it.
func (s Span) Seconds() string {
	return strconv.Itoa(int(time.Duration(s) / time.Second))
}
