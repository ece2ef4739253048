package trainer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	dg "driftgate"
	"driftgate/internal/network"
)

// A search keeps its trials in job.Dir/trials: a folder for each with its
// checkpoint, and the standing beside them.
const (
	trialsDir    = "trials"
	standingFile = "search.json"
)

// standing is a search between two trials.
type standing struct {
	Job     string `json:"job"`     // key of the job
	Samples string `json:"samples"` // digest of what it trains on
	Round   int    `json:"round"`   // rounds that are over
	Going   []int  `json:"going"`   // the trials of this round
	Rounds  []int  `json:"rounds"`  // rounds that each trial has done
	Best    int    `json:"best"`    // the answer; 0 is none yet

	Trials []network.Trial `json:"trials"`
}

// save writes the standing over the last one: whole, or not at all.
func (s *standing) save(dir string) error {
	b, err := json.Marshal(s)
	if err == nil {
		err = os.MkdirAll(filepath.Join(dir, trialsDir), 0o700)
	}
	if err == nil {
		err = writeFile(filepath.Join(dir, trialsDir, standingFile), b)
	}
	if err != nil {
		return fmt.Errorf("trainer: save search: %w", err)
	}
	return nil
}

// readStanding reads the standing of the job with this key on these samples; any
// other, or one that cannot be of a search of so many rounds, is
// [dg.ErrNotFound]: the search begins anew.
func readStanding(dir, key, samples string, rounds int) (*standing, error) {
	b, err := os.ReadFile(filepath.Join(dir, trialsDir, standingFile))
	if err != nil {
		return nil, fmt.Errorf("no trial is done yet: %w", dg.ErrNotFound)
	}
	s := &standing{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("what the trials left cannot be read: %w: %w", dg.ErrNotFound, err)
	}
	switch n := len(s.Trials); {
	case s.Job != key:
		return nil, fmt.Errorf("the trials there are another job's: %w", dg.ErrNotFound)
	case s.Samples != samples:
		return nil, fmt.Errorf("the trials there learned from other samples: %w", dg.ErrNotFound)
	case n == 0 || len(s.Rounds) != n || !s.possible(rounds):
		return nil, fmt.Errorf("what the trials left is damaged: %w", dg.ErrNotFound)
	}
	return s, nil
}

// possible reports whether a search of so many rounds can stand so.
func (s *standing) possible(rounds int) bool {
	n := len(s.Trials)
	under := s.Best == 0 && s.Round >= 0 && s.Round < rounds && len(s.Going) > 0
	if over := s.Best >= 1 && s.Best <= n && s.Round == rounds; !under && !over {
		return false
	}
	for i, t := range s.Trials {
		if t.Trial != i+1 || s.Rounds[i] < 0 || s.Rounds[i] > min(s.Round+1, rounds) {
			return false
		}
	}
	return !slices.ContainsFunc(s.Going, func(k int) bool { return k < 1 || k > n })
}

// account is a trial's account with what its training has come to.
func account(trial network.Trial, s *state) network.Trial {
	trial.Epochs, trial.Seconds, trial.Curve = s.Epoch, 0, nil
	if trial.BestEpoch = s.BestEpoch; s.BestEpoch > 0 {
		trial.ValidationLoss, trial.ValidationAccuracy = round4(s.BestLoss), round4(s.ValidAcc)
	}
	every := (len(s.Curves) + network.MaxTrialPoints - 2) / (network.MaxTrialPoints - 1)
	for i, p := range s.Curves {
		trial.Seconds += p.Seconds * float64(max(1, s.Every))
		if last := len(s.Curves) - 1; i == last || every > 0 && (last-i)%every == 0 {
			trial.Curve = append(trial.Curve, network.TrialPoint{Epoch: p.Epoch, ValidationLoss: round4(p.ValidationLoss), ValidationAccuracy: round4(p.ValidationAccuracy)})
		}
	}
	trial.Seconds = round4(trial.Seconds)
	return trial
}
