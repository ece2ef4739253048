package web

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser opens a headless Chromium, or skips the test when there is none.
func browser(t *testing.T, options ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("no browser in -short")
	}
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium on PATH: the pages' script was not run here")
	}
	all := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), append(all, options...)...)
	t.Cleanup(cancel)
	ctx, cancelTab := chromedp.NewContext(allocator)
	t.Cleanup(cancelTab)
	ctx, cancelTime := context.WithTimeout(ctx, 90*time.Second)
	t.Cleanup(cancelTime)
	return ctx
}

// TestAPersonAtABrowser walks the pages with real clicks and keys, under the
// real content policy.
func TestAPersonAtABrowser(t *testing.T) {
	ctx := browser(t)
	f := newFake()
	server := httptest.NewServer(testServer(t, f).engine)
	t.Cleanup(server.CloseClientConnections)
	picture := filepath.Join(t.TempDir(), "dress.png")
	if err := os.WriteFile(picture, testPNG(), 0o600); err != nil {
		t.Fatal(err)
	}
	labelled := func(id string) string {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.labels[id]
	}
	step := func(name string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, actions...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	read := func(a chromedp.Action[string]) string {
		t.Helper()
		text, err := chromedp.Run(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	step("a picture is judged without leaving the page",
		chromedp.Navigate(server.URL+"/"), chromedp.SetUploadFiles("#file", []string{picture}), chromedp.WaitVisible("#result .verdict"))
	if verdict := read(chromedp.Text("#result .verdict")); verdict != "Dress" {
		t.Errorf("verdict %q", verdict)
	}
	step("a flag says thank you in place", chromedp.Click(`#result form[action^="/flag/"] button`), chromedp.WaitVisible("#result .done"))
	f.mu.Lock()
	flags := len(f.flags)
	f.mu.Unlock()
	if thanks := read(chromedp.Text("#result .done")); !strings.Contains(thanks, "flagged") || flags != 1 {
		t.Errorf("thanks %q, %d flags", thanks, flags)
	}
	step("the token behind # signs in", chromedp.Navigate(server.URL+"/login?next=%2Flabel#token="+testToken), chromedp.WaitVisible("#labeller .choice.said"))
	if where := read(chromedp.Location()); where != server.URL+"/label" {
		t.Errorf("after signing in at %q: the token must be gone from the address", where)
	}
	next := func(old string) {
		t.Helper()
		read(chromedp.Poll[string]("document.getElementById('task').value !== '"+old+"' && document.getElementById('task').value", chromedp.WithPollingTimeout(20*time.Second)))
	}
	first := read(chromedp.Value("#task"))
	step("a key labels", chromedp.KeyEvent("4"))
	next(first)
	second, about := read(chromedp.Value("#task")), read(chromedp.Text("#about"))
	if labelled(first) != "Coat" || second != testTask(1).ID || !strings.Contains(about, "corrected") || !strings.Contains(about, "–") {
		t.Errorf("%s was labelled %q, then %s with %q", first, labelled(first), second, about)
	}
	step("u takes the answer back", chromedp.KeyEvent("u"))
	next(second)
	if labelled(first) != "" {
		t.Errorf("after undo %s is %q", first, labelled(first))
	}
	step("s skips", chromedp.KeyEvent("s"))
	next(first)
	if labelled(first) != "skipped" {
		t.Errorf("after s %s is %q", first, labelled(first))
	}
	step("the chart says what is under the pointer", chromedp.Navigate(server.URL+"/accuracy"))
	readout := read(chromedp.Evaluate[string](`document.querySelectorAll(".chart-wide .hit")[60].dispatchEvent(new PointerEvent("pointerenter")), document.querySelector(".readout").textContent`))
	if !strings.Contains(readout, "95% bounds") {
		t.Errorf("readout %q", readout)
	}
	step("the chart takes the keyboard", chromedp.Focus("[data-chart]"), chromedp.KeyEvent(kb.End), chromedp.KeyEvent(kb.ArrowLeft))
	if last := read(chromedp.Text(".readout")); !strings.Contains(last, "95% bounds") || last == readout {
		t.Errorf("after End and the left arrow the readout is %q", last)
	}
	step("a wanted precision and Enter", chromedp.Focus("#points"), chromedp.Evaluate[chromedp.Void](`void document.getElementById("points").select()`), chromedp.KeyEvent("1"+kb.Enter), chromedp.WaitVisible(`#points[value="1"]`))
	if answer := read(chromedp.Text("#plan .answer")); !strings.Contains(answer, "1\u202f648 random images a day") || !strings.Contains(answer, "±1.0 points") {
		t.Errorf("the planner answers %q", answer)
	}
	step("classes in another order, by keyboard", chromedp.Focus(`.sorts a[href*="sort=name"]`), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(`.sorts a[href*="sort=name"][aria-current]`))
	if class := read(chromedp.Text("#classes tbody tr:first-child th")); !strings.HasPrefix(class, "Ankle boot") {
		t.Errorf("by name the first class is %q", class)
	}
}
