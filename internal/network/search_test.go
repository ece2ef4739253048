package network

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestAccountsOfSearchesAreBounded(t *testing.T) {
	good := func() *Search {
		return &Search{Method: "halving", Best: 2, Epochs: 12, Trials: []Trial{
			{Trial: 1, State: TrialStopped, Epochs: 3, BestEpoch: 3}, {Trial: 2, State: TrialKept, Epochs: 9, BestEpoch: 7}, {Trial: 3, State: TrialFailed, Reason: "it diverged"}}}
	}
	if err := good().validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Search){
		`method "luck"`:                func(s *Search) { s.Method = "luck" },
		"trials: 0, want 1 to 200":     func(s *Search) { s.Trials = nil },
		"trials: 201, want 1 to 200":   func(s *Search) { s.Trials = make([]Trial, 201) },
		"best 0: want":                 func(s *Search) { s.Best = 0 },
		"best 4: want":                 func(s *Search) { s.Best = 4 },
		"trials[2]: number 2, want 3":  func(s *Search) { s.Trials[2].Trial = 2 },
		`trials[0]: state "going"`:     func(s *Search) { s.Trials[0].State = TrialGoing },
		`trials[0]: state "kept", and`: func(s *Search) { s.Trials[0].State = TrialKept },
		`trials[1]: state "fin`:        func(s *Search) { s.Trials[1].State = TrialFinished },
		"a reason of 301 bytes":        func(s *Search) { s.Trials[2].Reason = strings.Repeat("x", 301) },
		"a curve of 13 points":         func(s *Search) { s.Trials[0].Curve = make([]TrialPoint, 13) },
		"best epoch 4 of 3":            func(s *Search) { s.Trials[0].BestEpoch = 4 },
		"trials[0]: 51 settings":       func(s *Search) { s.Trials[0].Settings = many(51) },
		"space: 51 settings":           func(s *Search) { s.Space = many(51) },
		"epochs -1":                    func(s *Search) { s.Epochs = -1 },
	} {
		s := good()
		change(s)
		if err := s.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if err := (Manifest{Search: s}).Validate(); err == nil || !strings.Contains(err.Error(), "search: ") {
			t.Errorf("the manifest does not look at it: %v", err)
		}
	}
}

func many(n int) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for i := range n {
		out[fmt.Sprint(i)] = json.RawMessage("1")
	}
	return out
}
