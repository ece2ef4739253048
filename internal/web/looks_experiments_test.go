package web

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestTheExperimentPagesFitEveryScreen opens them as people do, in both themes,
// and asks the browser what cannot be seen well. With DRIFTGATE_SCREENSHOTS=DIR
// it leaves pictures there.
func TestTheExperimentPagesFitEveryScreen(t *testing.T) {
	for theme, number := range map[string]string{"light": "1", "dark": "0"} {
		t.Run(theme, func(t *testing.T) {
			ctx := browser(t, chromedp.Flag("blink-settings", "preferredColorScheme="+number))
			s, store := experimentServer(t)
			putTrials(t, store, "retrain-garments-77d0e2")
			server := httptest.NewServer(s.engine)
			t.Cleanup(server.CloseClientConnections)
			open := func(width int64, target, until string) {
				t.Helper()
				if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(server.URL+target), chromedp.WaitVisible(until)); err != nil {
					t.Fatalf("%s: %v", target, err)
				}
			}
			open(1280, "/login?next=%2Fexperiments#token="+testToken, "table.experiments")
			for _, width := range []int64{1280, 390} {
				for name, target := range map[string]string{"list": "/experiments", "trouble": "/experiments?filter=nonsense",
					"columns": "/experiments?sort=-metrics.test_accuracy&columns=kind,params.start,metrics.test_accuracy,metrics.difference&filter=" + url.QueryEscape("state=done"),
					"one":     "/experiments/" + knownRun, "failed": "/experiments/retrain-garments-77d0e2"} {
					open(width, target, "main h1")
					looks(ctx, t, fmt.Sprintf("experiments-%s-%s-%d", theme, name, width))
				}
			}
			// By keyboard alone: to the filter, a word, Enter.
			open(1280, "/experiments", "#filter")
			err := chromedp.Do(ctx, chromedp.Focus("#filter"), chromedp.KeyEvent("kind=evaluation"+kb.Enter), chromedp.WaitVisible(`#filter[value="kind=evaluation"]`))
			if err != nil {
				t.Fatal(err)
			}
			at, err := chromedp.Run(ctx, chromedp.Location())
			if err != nil {
				t.Fatal(err)
			}
			if u, err := url.Parse(at); err != nil || u.Query().Get("filter") != "kind=evaluation" {
				t.Errorf("Enter leads to %s, %v", at, err)
			}
		})
	}
}
