package web

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	dg "driftgate"
)

// percent renders a ratio, 0 to 1, with one decimal; a gap for NaN.
func percent(ratio float64) string {
	if math.IsNaN(ratio) || math.IsInf(ratio, 0) {
		return "–"
	}
	return strconv.FormatFloat(ratio*100, 'f', 1, 64) + "%"
}

// points renders a difference of ratios in percentage points, signed.
func points(diff float64) string {
	if math.IsNaN(diff) {
		return "–"
	}
	return strings.ReplaceAll(fmt.Sprintf("%+.1f", diff*100), "-", "−")
}

// bounds renders an interval of ratios: "87.9 to 90.3%".
func bounds(lower, upper float64) string {
	if math.IsNaN(lower) || math.IsNaN(upper) {
		return "–"
	}
	return fmt.Sprintf("%.1f to %.1f%%", lower*100, upper*100)
}

// wholeBounds is bounds where more digits would pretend to more than is known.
func wholeBounds(lower, upper float64) string {
	if math.IsNaN(lower) || math.IsNaN(upper) {
		return "–"
	}
	return fmt.Sprintf("%.0f to %.0f%%", lower*100, upper*100)
}

// count renders a number with narrow no-break spaces between thousands.
func count(n int) string {
	s := strconv.Itoa(n)
	digits := strings.TrimPrefix(s, "-")
	var out strings.Builder
	out.WriteString(s[:len(s)-len(digits)])
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out.WriteRune('\u202f')
		}
		out.WriteRune(d)
	}
	return out.String()
}

// plural renders n with the noun that fits it.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// span renders a duration in the largest unit that keeps two digits of it.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Hours()), ".0") + " h"
	default:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Hours()/24), ".0") + " days"
	}
}

// durationText renders a short time, given in seconds.
func durationText(seconds float64) string {
	switch {
	case !(seconds > 0):
		return "–"
	case seconds < .001:
		return strconv.FormatFloat(seconds*1e6, 'g', 3, 64) + " µs"
	case seconds < 1:
		return strconv.FormatFloat(seconds*1e3, 'g', 3, 64) + " ms"
	}
	return strconv.FormatFloat(seconds, 'g', 3, 64) + " s"
}

// bytesText renders a size in binary units.
func bytesText(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	size, unit := float64(n), "B"
	for _, u := range []string{"KiB", "MiB", "GiB"} {
		if size < 1024 {
			break
		}
		size, unit = size/1024, u
	}
	return strings.TrimSuffix(strconv.FormatFloat(size, 'f', 1, 64), ".0") + " " + unit
}

// clock renders a moment for people: UTC, to the minute.
func clock(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2 Jan 2006 15:04")
}

// day renders the day of a moment, UTC.
func day(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2 Jan")
}

// stamp renders a moment for machines.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// age says how long ago t was.
func age(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return span(now.Sub(t)) + " ago"
}

// accuracyWords says one window in one line, with bounds and counts.
func accuracyWords(a dg.Accuracy) string {
	e, ok := a.Estimate(headline)
	if !ok {
		return fmt.Sprintf("too few labels for a figure (%s of %s)", plural(a.Labels, "label", "labels"), plural(a.Predictions, "prediction", "predictions"))
	}
	text := fmt.Sprintf("%s (95%% bounds %s), %s of %s", percent(e.Accuracy), bounds(e.Lower, e.Upper),
		plural(a.Labels, "label", "labels"), plural(a.Predictions, "prediction", "predictions"))
	if e.Partial {
		text += ", partial"
	}
	if e, ok := a.Estimate(expected); ok {
		text += "; its confidence promises " + percent(e.Accuracy)
	}
	return text
}

// keyPath escapes an object key for use in a URL path, segment by segment.
func keyPath(key string) string {
	parts := strings.Split(key, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// words makes a code with underscores readable.
func words(code string) string { return strings.ReplaceAll(code, "_", " ") }
