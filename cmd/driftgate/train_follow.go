package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"driftgate/internal/app"
	"driftgate/internal/ledger"
	"driftgate/trainer"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

// followRun shows a run's progress on standard error until it ends, then its
// result on standard output. When it is interrupted it says what becomes of the
// run.
func (g *global) followRun(cmd *cobra.Command, c *app.Client, id string) error {
	show, state := g.progressTo(cmd.ErrOrStderr()), ledger.RunRunning
	var run ledger.Run
	for {
		ctx := cmd.Context()
		if err := c.Get(ctx, "/api/v1/runs/"+url.PathEscape(id), &run); err != nil && ctx.Err() == nil {
			show.end()
			return show.fault(id, state, err)
		}
		if ctx.Err() == nil {
			show.show(run)
			state = run.State
		}
		if ended(run.State) {
			show.end()
			if now := enthroned(run); now != "" {
				served(ctx, c, now, cmd.ErrOrStderr())
			}
			return show.fault(id, state, g.showRun(cmd, run))
		}
		select {
		case <-ctx.Done():
			show.end()
			return show.fault(id, state, interrupted(c.Private(), id))
		case <-time.After(500 * time.Millisecond):
		}
		run = ledger.Run{}
	}
}

// interrupted says what becomes of a run that nobody watches any more; private
// is one of a gateway that ends with this command.
func interrupted(private bool, id string) error {
	if !private {
		return fmt.Errorf("interrupted: the run goes on in the gateway; driftgate runs show %s --wait follows it, driftgate runs cancel %s ends it", id, id)
	}
	return fmt.Errorf("interrupted: the run stops with this command, and its checkpoint stays; driftgate runs show %s --wait goes on from it, as any gateway of this folder does; driftgate runs cancel %s ends it", id, id)
}

// progressShower shows how far a run is: as a bar on a terminal, as lines
// elsewhere, as lines of JSON when that is the format.
type progressShower struct {
	w      io.Writer
	form   string // bar, lines or json
	width  func() int
	last   string
	phase  string
	wrote  time.Time
	every  time.Duration // least time between two plain lines
	now    func() time.Time
	onLine bool // the bar stands on the last line
}

func (g *global) progressTo(w io.Writer) *progressShower {
	s := &progressShower{w: w, form: "lines", every: 5 * time.Second, now: time.Now}
	if g.format == "json" {
		s.form = "json"
	} else if f, ok := w.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		s.form, s.width = "bar", func() int { return terminalWidth(f) }
	}
	return s
}

// show shows a run's progress if there is something new.
func (s *progressShower) show(run ledger.Run) {
	if s.form == "json" {
		s.line(progressJSON(run))
		return
	}
	var p trainer.Progress
	if len(run.Progress) == 0 || json.Unmarshal(run.Progress, &p) != nil || p.Phase == "" || ended(run.State) && s.form == "lines" {
		return
	}
	if s.form == "bar" {
		if text := bar(p, s.width()); text != s.last {
			s.last, s.onLine = text, true
			fmt.Fprintf(s.w, "\r%s\x1b[K", text)
		}
		return
	}
	phase := fmt.Sprint(p.Phase, " ", p.Round)
	if phase == s.phase && s.now().Sub(s.wrote) < s.every {
		return
	}
	s.phase = phase
	s.line(p.Line())
}

func (s *progressShower) line(text string) {
	if text != "" && text != s.last {
		s.last, s.wrote = text, s.now()
		fmt.Fprintln(s.w, text)
	}
}

// end leaves the bar's line.
func (s *progressShower) end() {
	if s.onLine {
		s.onLine = false
		fmt.Fprintln(s.w)
	}
}

// fault says how a run ended that did not end well, or why it is not watched any
// more: as a last line of JSON when that is the format, else as any error.
func (s *progressShower) fault(id, state string, err error) error {
	if err == nil || s.form != "json" {
		return err
	}
	b, e := json.Marshal(struct {
		Run   string `json:"run"`
		State string `json:"state"`
		Error string `json:"error"`
	}{id, state, err.Error()})
	if e != nil {
		return err
	}
	fmt.Fprintf(s.w, "%s\n", b)
	return toldError{err}
}

// progressJSON is a run's progress as one line of JSON.
func progressJSON(run ledger.Run) string {
	if len(run.Progress) == 0 {
		return ""
	}
	b, err := json.Marshal(struct {
		Run      string          `json:"run"`
		State    string          `json:"state"`
		Progress json.RawMessage `json:"progress"`
	}{run.ID, run.State, run.Progress})
	if err != nil {
		return ""
	}
	return string(b)
}

// Sides of the bar itself, and what a terminal of unknown width is taken for.
const (
	minBar, maxBar = 8, 30
	usualWidth     = 80
)

// bar is a progress on one line of a terminal of that many columns, less one,
// which many terminals need to stay on the line. What does not fit is left out,
// the least wanted first.
func bar(p trainer.Progress, columns int) string {
	columns = max(columns-1, minBar+2)
	head := p.Phase
	if p.Trials > 0 {
		head = fmt.Sprintf("trial %d/%d", p.Trial, p.Trials)
		if p.Rounds > 1 {
			head = fmt.Sprintf("round %d/%d ", p.Round, p.Rounds) + head
		}
		if p.Phase != trainer.Training {
			head = p.Phase + " " + head
		}
	}
	share := p.Fraction()
	if share == 0 && p.Phase != trainer.Training && p.Phase != trainer.Loading && p.Phase != trainer.Checking {
		return cut(head, columns) // a stage that says in words what it does
	}
	parts := barParts(p)
	for ; ; parts = parts[:len(parts)-1] {
		tail := fmt.Sprintf(" %3.0f%%", 100*share)
		for _, at := range []int{partEpoch, partLeft, partLoss, partAccuracy, partBest, partRate} { // as they are read
			for _, x := range parts {
				if x.at == at && x.text != "" {
					tail += "  " + x.text
				}
			}
		}
		room := columns - len(head) - 1 - len(tail) - 2
		if room >= minBar || len(parts) == 0 {
			if room < minBar {
				return cut(head+tail, columns)
			}
			room = min(room, maxBar)
			done := int(share * float64(room))
			return head + " [" + strings.Repeat("#", done) + strings.Repeat("-", room-done) + "]" + tail
		}
	}
}

// The places of what stands beside the bar.
const (
	partEpoch = iota
	partLeft
	partLoss
	partAccuracy
	partBest
	partRate
)

type barPart struct {
	at   int
	text string
}

// barParts are what stands beside the bar, the most wanted first.
func barParts(p trainer.Progress) []barPart {
	if p.Phase != trainer.Training {
		if p.Steps > 0 {
			return []barPart{{partEpoch, fmt.Sprintf("%d/%d", p.Step, p.Steps)}}
		}
		return nil
	}
	best, accuracy := "", fmt.Sprintf("acc %.3f", p.Accuracy)
	if p.BestTrial > 0 {
		best = fmt.Sprintf("best %.3f (trial %d)", p.BestAccuracy, p.BestTrial)
	} else if p.ValidationAccuracy > 0 && p.Trials == 0 {
		best = fmt.Sprintf("validation %.3f", p.ValidationAccuracy)
	}
	left := "left " + lasts(p.SecondsLeft)
	if p.Epoch == 1 && p.Step <= 1 { // the first step takes longest, and says little of the others
		left = ""
	}
	return []barPart{
		{partEpoch, fmt.Sprintf("epoch %d/%d", p.Epoch, p.Epochs)},
		{partLeft, left},
		{partAccuracy, accuracy},
		{partBest, best},
		{partLoss, fmt.Sprintf("loss %.3f", p.Loss)},
		{partRate, fmt.Sprintf("%.0f/s", p.SamplesPerSecond)},
	}
}

// lasts is a time to come: 45s, 3m05s, 2h10m.
func lasts(seconds float64) string {
	d := time.Duration(min(max(seconds, 0), 1e7) * float64(time.Second)).Round(time.Second)
	switch {
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

func cut(text string, columns int) string {
	if r := []rune(text); len(r) > columns {
		return string(r[:columns])
	}
	return text
}
