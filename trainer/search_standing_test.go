package trainer

import (
	"errors"
	"testing"

	dg "driftgate"
	"driftgate/internal/network"
)

func TestAStandingThatCannotBeIsNotGoneOnFrom(t *testing.T) {
	good := func() *standing {
		return &standing{Job: "k", Samples: "s", Round: 1, Going: []int{2}, Rounds: []int{1, 2, 1}, Trials: []network.Trial{{Trial: 1}, {Trial: 2}, {Trial: 3}}}
	}
	read := func(s *standing) error {
		dir := t.TempDir()
		if err := s.save(dir); err != nil {
			t.Fatal(err)
		}
		_, err := readStanding(dir, "k", "s", 2)
		return err
	}
	if err := read(good()); err != nil {
		t.Fatal(err)
	}
	over := good()
	over.Round, over.Going, over.Best = 2, nil, 2
	if err := read(over); err != nil {
		t.Errorf("one that is over: %v", err)
	}
	for name, change := range map[string]func(*standing){
		"another job":             func(s *standing) { s.Job = "j" },
		"other samples":           func(s *standing) { s.Samples = "t" },
		"a round below none":      func(s *standing) { s.Round = -1 },
		"a round beyond the last": func(s *standing) { s.Round = 2 },
		"rounds of too few":       func(s *standing) { s.Rounds = s.Rounds[:2] },
		"a trial's round below 0": func(s *standing) { s.Rounds[0] = -1 },
		"a trial ahead of all":    func(s *standing) { s.Rounds[0] = 3 },
		"nobody goes on":          func(s *standing) { s.Going = nil },
		"a trial that is not":     func(s *standing) { s.Going = []int{4} },
		"trials out of order":     func(s *standing) { s.Trials[0].Trial = 2 },
		"a best that is not":      func(s *standing) { s.Best = 4; s.Round = 2 },
		"a best before the end":   func(s *standing) { s.Best = 2 },
	} {
		s := good()
		change(s)
		if err := read(s); !errors.Is(err, dg.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
