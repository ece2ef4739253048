package web

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"driftgate/internal/estimate"
)

// faultsOf asks the browser what of a page can't be seen well: one line each.
const faultsOf = `(() => {
  const faults = [], root = document.documentElement;
  if (root.scrollWidth > innerWidth) faults.push("the page is " + root.scrollWidth + " wide on a screen of " + innerWidth);
  const parts = (c) => (c.match(/[\d.]+/g) || []).map(Number);
  const light = (c) => { const [r, g, b] = parts(c).map((v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor, p = parts(c); if (p.length === 3 || p[3] === 1) return c; } return "rgb(255, 255, 255)"; };
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest("svg, script, .skip, .visually-hidden") || !e.checkVisibility()) continue;
    const a = light(getComputedStyle(e).color), b = light(behind(e)), contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < 4.5) faults.push("contrast " + contrast.toFixed(1) + " of " + JSON.stringify(e.textContent.trim().slice(0, 40)));
    const box = e.getBoundingClientRect(), card = e.closest(".card")?.getBoundingClientRect();
    if (card && !e.closest(".scroll, .sorts") && box.right > card.right) faults.push("out of its card: " + JSON.stringify(e.textContent.trim().slice(0, 40)));
    if (!e.closest(".scroll, .segments, .sorts, nav") && (box.right > innerWidth + 1 || box.left < -1)) faults.push("out of the screen: " + JSON.stringify(e.textContent.trim().slice(0, 40)));
  }
  for (const dot of document.querySelectorAll(".plot-cell circle, .plot-cell .interval")) {
    const d = dot.getBoundingClientRect(), cell = dot.closest(".plot-cell").getBoundingClientRect();
    if (d.left < cell.left - 1 || d.right > cell.right + 1 || d.top < cell.top - 1 || d.bottom > cell.bottom + 1) faults.push("a mark leaves its row: " + dot.closest("tr").textContent.trim().slice(0, 30));
  }
  for (const row of document.querySelectorAll(".plots tbody tr, .drift tbody tr")) {
    const cells = [...row.children].filter((c) => c.checkVisibility()).map((c) => c.getBoundingClientRect());
    const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
    if (cells.some((a, i) => cells.some((b, j) => j > i && meet(a, b)))) faults.push("cells lie on each other: " + row.textContent.trim().slice(0, 30));
  }
  for (const scale of document.querySelectorAll(".scale, .chart-svg")) {
    const ticks = [...scale.querySelectorAll("text")].map((e) => [e.textContent, e.getBoundingClientRect()]);
    const meet = ([, a], [, b]) => a.left < b.right && b.left < a.right && a.top < b.bottom - 2 && b.top < a.bottom - 2;
    for (let i = 1; i < ticks.length; i++) if (meet(ticks[i - 1], ticks[i])) faults.push("words lie on each other: " + ticks[i - 1][0] + " and " + ticks[i][0]);
  }
  return faults.join("\n");
})()`

// TestTheAccuracyPageFitsEveryScreen opens it as people do and asks the browser
// what it has drawn: nothing sticks out sideways, text has contrast in both
// themes, every mark lies in its row. With DRIFTGATE_SCREENSHOTS=DIR it leaves
// pictures there.
func TestTheAccuracyPageFitsEveryScreen(t *testing.T) {
	for theme, number := range map[string]string{"light": "1", "dark": "0"} {
		t.Run(theme, func(t *testing.T) {
			ctx := browser(t, chromedp.Flag("blink-settings", "preferredColorScheme="+number))
			f := newFake()
			server := httptest.NewServer(testServer(t, f).engine)
			t.Cleanup(server.CloseClientConnections)
			open := func(width int64, target, until string) {
				t.Helper()
				if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(server.URL+target), chromedp.WaitVisible(until)); err != nil {
					t.Fatalf("%s: %v", target, err)
				}
			}
			open(1280, "/login?next=%2Faccuracy#token="+testToken, ".figure")
			if dark, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`matchMedia("(prefers-color-scheme: dark)").matches`)); err != nil || dark != (theme == "dark") {
				t.Fatalf("dark is %v, %v", dark, err)
			}
			for _, v := range views(theme) {
				f.mu.Lock()
				f.state = v.state
				f.mu.Unlock()
				open(v.width, "/accuracy?window="+v.window, v.until)
				looks(ctx, t, fmt.Sprintf("accuracy-%s-%s-%s-%d", theme, v.window, v.state, v.width))
			}
		})
	}
}

// view is one sight of the page.
type view struct {
	width  int64
	state  estimate.AlarmState
	window string
	until  string // what must be seen before it is judged
}

// views are a few that differ, and all of them when pictures are asked for.
func views(theme string) []view {
	const answer = "#plan .answer"
	if os.Getenv("DRIFTGATE_SCREENSHOTS") == "" {
		if theme == "dark" {
			return []view{{390, estimate.Quiet, "24h", answer}}
		}
		return []view{{1280, estimate.Firing, "7d", answer}, {768, estimate.Quiet, "24h", answer}, {390, estimate.Firing, "7d", answer}, {390, estimate.Quiet, "30m&points=0.1", "#plan .problem"}}
	}
	var all []view
	for _, width := range []int64{1280, 768, 390} {
		all = append(all, view{width, estimate.Quiet, "24h", answer}, view{width, estimate.Firing, "7d", answer}, view{width, estimate.Quiet, "30m&points=0.1", "#plan .problem"})
	}
	return all
}

// looks reports the faults of the page that is open, and keeps a picture.
func looks(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	found, err := chromedp.Run(ctx, chromedp.Evaluate[string](faultsOf))
	if err != nil {
		t.Fatal(err)
	}
	if found != "" {
		t.Errorf("%s:\n  %s", name, strings.ReplaceAll(found, "\n", "\n  "))
	}
	dir := os.Getenv("DRIFTGATE_SCREENSHOTS")
	if dir == "" {
		return
	}
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
