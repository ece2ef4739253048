package demo

import (
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"
)

// screen tells the story as it happens: on a terminal as a block that is drawn
// anew, elsewhere as a line every few seconds. Events stay above the block.
type screen struct {
	mu    sync.Mutex
	out   io.Writer
	live  bool // out is a terminal
	drawn int  // lines of the block on the terminal
	last  time.Time
}

// every is the distance of lines where out is no terminal.
const every = 5 * time.Second

// Event prints one line that stays.
func (s *screen) Event(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	fmt.Fprintf(s.out, format+"\n", args...)
}

// Block shows the present state: all lines on a terminal, else brief, and that
// not too often.
func (s *screen) Block(brief string, lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.live {
		if time.Since(s.last) >= every {
			s.last = time.Now()
			fmt.Fprintln(s.out, brief)
		}
		return
	}
	s.erase()
	for _, line := range lines {
		fmt.Fprintf(s.out, "%s\x1b[K\n", line)
	}
	s.drawn = len(lines)
}

// Done leaves the last block standing.
func (s *screen) Done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
}

func (s *screen) erase() {
	if s.drawn > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}

// spark draws ratios as a line of blocks; NaN is a gap. The scale is fixed,
// from 0 to 1, so that a fall looks as deep as it is.
func spark(values []float64) string {
	const levels = "▁▂▃▄▅▆▇█"
	marks := []rune(levels)
	var b strings.Builder
	for _, v := range values {
		if math.IsNaN(v) {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(marks[min(len(marks)-1, int(max(0, v)*float64(len(marks))))])
	}
	return b.String()
}
