package web

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"testing"

	"github.com/chromedp/chromedp"

	dg "driftgate"
)

// TestTheModelPagesFitEveryScreen opens the pages of models as people do, on
// wide screens and phones, light and dark. With DRIFTGATE_SCREENSHOTS=DIR it
// leaves pictures there.
func TestTheModelPagesFitEveryScreen(t *testing.T) {
	all := os.Getenv("DRIFTGATE_SCREENSHOTS") != ""
	pages := map[string]string{
		"models":  "/models",
		"model":   "/models/" + champRef.Short(),
		"compare": "/models/compare?a=" + champRef.Short() + "&b=" + freshRef.Short() + "&c=" + oldRef.Short(),
		"pair":    "/models/compare?a=" + champRef.Short() + "&b=" + freshRef.Short(),
	}
	for theme, number := range map[string]string{"light": "1", "dark": "0"} {
		t.Run(theme, func(t *testing.T) {
			ctx := browser(t, chromedp.Flag("blink-settings", "preferredColorScheme="+number))
			f := newFake()
			f.verdict = dg.Inconclusive
			f.tried = dg.Exposure{Challenger: freshRef, Against: champRef, Stage: dg.Canary, Share: .05, Since: testNow, Reason: "person: carefully"}
			server := httptest.NewServer(testServer(t, f).engine)
			t.Cleanup(server.CloseClientConnections)
			open := func(width int64, target string) {
				t.Helper()
				if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(server.URL+target), chromedp.WaitVisible("#main .card")); err != nil {
					t.Fatalf("%s: %v", target, err)
				}
			}
			open(1280, "/login?next="+url.QueryEscape("/models")+"#token="+testToken)
			for _, width := range widths(theme) {
				for name, target := range pages {
					if !all && (name == "pair" || theme == "dark" && name == "models") {
						continue // much as the others
					}
					open(width, target)
					looks(ctx, t, fmt.Sprintf("%s-%s-%d", name, theme, width))
				}
			}
		})
	}
}

// widths are a wide screen and a phone, fewer in the dark unless pictures are
// asked for.
func widths(theme string) []int64 {
	if theme == "dark" && os.Getenv("DRIFTGATE_SCREENSHOTS") == "" {
		return []int64{375}
	}
	return []int64{1280, 375}
}
