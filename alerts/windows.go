package alerts

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	dg "driftgate"
)

// AnsweredBy compares the windows that the rules of s ask for with those that a
// gateway exports (its metrics.windows): Prometheus takes a rule on a window
// that nobody exports, and it never fires. The error is [dg.ErrInvalid], names
// every such window by its key, and says what to change.
func (s SLO) AnsweredBy(windows []time.Duration) error {
	var asked []string
	ask := func(key string, w Span) {
		if !slices.Contains(windows, time.Duration(w)) {
			asked = append(asked, fmt.Sprintf("%s %s", key, w))
		}
	}
	ask("window", s.Window)
	for i, b := range s.BurnRates {
		ask(fmt.Sprintf("burn_rates[%d].long", i), b.Long)
		ask(fmt.Sprintf("burn_rates[%d].short", i), b.Short)
	}
	if len(asked) == 0 {
		return nil
	}
	return fmt.Errorf("alerts: %s: the gateway's metrics.windows are %s, so these alerts would never fire; add the missing to metrics.windows and restart it, or take other windows: %w",
		strings.Join(asked, ", "), strings.Join(names(windows), ", "), dg.ErrInvalid)
}

var windowMatcher = regexp.MustCompile(`\bwindow="([^"]*)"`)

// Unanswered lists the values that expr, an expression of PromQL, wants for the
// label window and that are not among those exported, each once.
func Unanswered(expr string, exported []string) (missing []string) {
	for _, m := range windowMatcher.FindAllStringSubmatch(expr, -1) {
		if !slices.Contains(exported, m[1]) && !slices.Contains(missing, m[1]) {
			missing = append(missing, m[1])
		}
	}
	return missing
}

// names are the windows as the label window has them.
func names(windows []time.Duration) (all []string) {
	for _, w := range windows {
		name := w.String()
		if w%time.Minute == 0 {
			name = Span(w).String()
		}
		all = append(all, name)
	}
	return all
}
