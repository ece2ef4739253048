//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// hops are the times of one way round, each from the one before it; they are
// looked at every 50 ms.
type hops struct {
	fires    time.Duration // drifted images come -> the alert fires in Prometheus
	retrains time.Duration // -> Alertmanager, webhook, a retraining is there
	verdict  time.Duration // -> trained, judged, ended
	serves   time.Duration // -> the new champion serves
	resolves time.Duration // -> the alert resolves in Prometheus
	recovers time.Duration // from when the new champion serves -> its accuracy is exported, and is back
	load     string        // of the machine over the last minute, at the end
}

var hopNames = []string{"alert fires", "retraining", "verdict", "serves", "resolves", "accuracy back", "drift to back"}

func (h hops) values() []time.Duration {
	return []time.Duration{h.fires, h.retrains, h.verdict, h.serves, h.resolves, h.recovers, h.fires + h.retrains + h.verdict + h.serves + h.recovers}
}

// String is one line: seconds, one for each hop.
func (h hops) String() string {
	var b strings.Builder
	for i, v := range h.values() {
		fmt.Fprintf(&b, "%s %.1f s, ", hopNames[i], v.Seconds())
	}
	return b.String() + "load " + h.load
}

// table has a line a run, then the least, the middle and the most of each hop.
func table(runs []hops) string {
	var b strings.Builder
	line := func(first string, cells []string, last string) {
		fmt.Fprintf(&b, "| %-6s | %s | %s |\n", first, strings.Join(cells, " | "), last)
	}
	line("run", hopNames, "load")
	line("---", slices.Repeat([]string{"---:"}, len(hopNames)), "---:")
	columns := make([][]time.Duration, len(hopNames))
	for i, run := range runs {
		var cells []string
		for j, v := range run.values() {
			columns[j] = append(columns[j], v)
			cells = append(cells, seconds(v))
		}
		line(strconv.Itoa(i+1), cells, run.load)
	}
	var least, middle, most []string
	for _, c := range columns {
		slices.Sort(c)
		least, most = append(least, seconds(c[0])), append(most, seconds(c[len(c)-1]))
		middle = append(middle, seconds((c[(len(c)-1)/2]+c[len(c)/2])/2))
	}
	line("min", least, "")
	line("median", middle, "")
	line("max", most, "")
	return b.String()
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) }

// load is the machine's over the last minute.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

// loops is how often each loop is run: DRIFTGATE_LOOPS, or once.
func loops(t *testing.T) int {
	t.Helper()
	text := os.Getenv("DRIFTGATE_LOOPS")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("DRIFTGATE_LOOPS=%s: want a count of at least 1", text)
	}
	return n
}

// each runs the loop as often as asked for, and prints the table of its hops.
func each(t *testing.T, once func(t *testing.T, last bool) hops) {
	t.Helper()
	n := loops(t)
	if n == 1 {
		once(t, true)
		return
	}
	var all []hops
	for i := range n {
		t.Run(strconv.Itoa(i+1), func(t *testing.T) { all = append(all, once(t, i == n-1)) })
	}
	if len(all) > 0 {
		t.Logf("seconds of %d runs, %d failed:\n%s", len(all), n-len(all), table(all))
	}
}
