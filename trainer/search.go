package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	dg "driftgate"
	"driftgate/internal/network"
)

// searching is a search under way. Every trial is an ordinary training in a
// folder of its own, on the same samples, with the learning rate's schedule over
// all its epochs wherever a round ends: a trial that goes on goes on exactly, and
// the one that becomes the model is bit for bit what a training with its settings
// alone gives.
type searching struct {
	job      Job
	m        *material
	method   string
	plan     []rung
	standing *standing
	progress func(Progress)
	pace     float64 // seconds an epoch, of the trial at work
}

// search runs the trials of a job, or what is left of them, and finishes the
// best.
func search(ctx context.Context, job Job, key string, m *material, progress func(Progress)) (*network.Artifact, error) {
	if m.valid.len() == 0 {
		return nil, fmt.Errorf("trainer: search: no sample fell into the validation split (validation %g of %d): want more samples or a larger share: %w", job.Options.Validation, m.train.len(), dg.ErrTooFewSamples)
	}
	o := job.Options
	s := &searching{job: job, m: m, method: o.Search.Method, plan: o.Search.rungs(o.Epochs), progress: progress}
	if s.method == "" {
		s.method = Halving
	}
	if job.Dir == "" { // trials are put aside on disk, not in memory
		dir, err := os.MkdirTemp("", "driftgate-search-*")
		if err != nil {
			return nil, fmt.Errorf("trainer: search: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }() // a temporary folder
		s.job.Dir = dir
	}
	var err error
	if s.standing, err = readStanding(s.job.Dir, key, m.digest(), len(s.plan)); err == nil {
		slog.Info("search resumes", "component", "trainer", "run", job.RunID, "round", s.standing.Round+1)
	} else if s.standing, err = s.begin(key); err != nil {
		return nil, err
	}
	for s.standing.Best == 0 {
		if err := s.round(ctx); err != nil {
			return nil, err
		}
		if err := s.advance(); err != nil {
			return nil, err
		}
	}
	return s.finish(ctx)
}

// begin draws all trials.
func (s *searching) begin(key string) (*standing, error) {
	st := &standing{Job: key, Samples: s.m.digest()}
	for k := 1; k <= s.job.Options.Search.Trials; k++ {
		_, settings, err := s.job.Options.Search.trial(s.job.Options, k)
		if err != nil {
			return nil, fmt.Errorf("trainer: search: trial %d: %w", k, err)
		}
		st.Trials = append(st.Trials, network.Trial{Trial: k, Settings: settings, State: network.TrialGoing})
		st.Rounds = append(st.Rounds, 0)
		st.Going = append(st.Going, k)
	}
	return st, st.save(s.job.Dir)
}

// round trains the trials that go on until the round's epochs are done.
func (s *searching) round(ctx context.Context) error {
	st := s.standing
	for _, k := range st.Going {
		if st.Rounds[k-1] > st.Round || st.Trials[k-1].State == network.TrialFailed {
			continue // done before an interruption
		}
		if err := s.train(ctx, k); err != nil {
			return err
		}
		st.Rounds[k-1] = st.Round + 1
		if err := st.save(s.job.Dir); err != nil {
			return err
		}
		s.forget()
	}
	return nil
}

// train trains one trial to the end of the round. A trial that cannot be
// trained has failed, and the search goes on.
func (s *searching) train(ctx context.Context, k int) error {
	trial := &s.standing.Trials[k-1]
	t, err := s.training(k)
	if err == nil {
		err = t.until(ctx, s.plan[s.standing.Round].epochs)
		*trial = account(*trial, t.state)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil || !errors.Is(err, dg.ErrInvalid) && !errors.Is(err, network.ErrDiverged):
		return fmt.Errorf("trainer: search: trial %d of %d: %w", k, len(s.standing.Trials), err)
	default:
		trial.State, trial.Reason = network.TrialFailed, reason(err)
	}
	s.tell(k)
	return nil
}

// training is the training of a trial, where it stands.
func (s *searching) training(k int) (*training, error) {
	job, m := s.job, *s.m
	var err error
	if job.Options, _, err = job.Options.Search.trial(s.job.Options, k); err != nil {
		return nil, err
	}
	if err := job.Options.Validate(); err != nil {
		return nil, err
	}
	job.Dir = trialDir(s.job.Dir, k)
	m.account.Augmentation.Applied.Share = job.Options.Augment.Share
	key, err := job.key()
	if err != nil {
		return nil, err
	}
	return newTraining(job, key, &m, s.within(k))
}

// reason is why a trial failed, in short.
func reason(err error) string {
	text := strings.NewReplacer("trainer: ", "", ": "+dg.ErrInvalid.Error(), "", "\n", "; ").Replace(err.Error())
	for len(text) > network.MaxReason {
		text = strings.ToValidUTF8(text[:network.MaxReason], "")
	}
	return text
}

// advance ends a round: the best go on, or the best is the answer. When all that
// went on have failed, the best of those that were stopped take their place.
func (s *searching) advance() error {
	st := s.standing
	alive := slices.DeleteFunc(slices.Clone(st.Going), func(k int) bool { return st.Trials[k-1].State == network.TrialFailed })
	best := ranked(st.Trials, alive)
	if len(best) == 0 {
		var stopped []int
		for _, t := range st.Trials {
			if t.State == network.TrialStopped {
				stopped = append(stopped, t.Trial)
			}
		}
		if len(stopped) == 0 {
			return s.allFailed()
		}
		st.Going = ranked(st.Trials, stopped)[:min(len(stopped), s.plan[st.Round].trials)]
		for _, k := range st.Going {
			st.Trials[k-1].State = network.TrialGoing
		}
		return st.save(s.job.Dir)
	}
	if st.Round++; st.Round == len(s.plan) {
		st.Going, st.Best = nil, best[0]
		for _, k := range best {
			st.Trials[k-1].State = network.TrialFinished
		}
		st.Trials[st.Best-1].State = network.TrialKept
		return st.save(s.job.Dir)
	}
	st.Going = best[:min(len(best), s.plan[st.Round].trials)]
	for _, k := range best[len(st.Going):] {
		st.Trials[k-1].State = network.TrialStopped
		s.tell(k)
	}
	return st.save(s.job.Dir)
}

func (s *searching) allFailed() error {
	reasons := map[string]int{}
	var first []string
	for _, t := range s.standing.Trials {
		if reasons[t.Reason]++; reasons[t.Reason] == 1 && len(first) < 3 {
			first = append(first, fmt.Sprintf("trial %d: %s", t.Trial, t.Reason))
		}
	}
	return fmt.Errorf("trainer: search: all %d trials failed: %s: %w", len(s.standing.Trials), strings.Join(first, "; "), dg.ErrInvalid)
}

// forget removes the checkpoints of trials that cannot be among the best of the
// round any more: should one be wanted after all, it is trained again.
func (s *searching) forget() {
	st, next := s.standing, 1
	if st.Round+1 < len(s.plan) {
		next = s.plan[st.Round+1].trials
	}
	var done []int
	for _, k := range st.Going {
		if st.Rounds[k-1] > st.Round && st.Trials[k-1].State != network.TrialFailed {
			done = append(done, k)
		}
	}
	keep := ranked(st.Trials, done)
	keep = keep[:min(len(keep), next)]
	for _, t := range st.Trials {
		waiting := slices.Contains(st.Going, t.Trial) && st.Rounds[t.Trial-1] <= st.Round && t.State != network.TrialFailed
		if !waiting && !slices.Contains(keep, t.Trial) {
			if err := os.Remove(filepath.Join(trialDir(s.job.Dir, t.Trial), checkpointFile)); ignoreMissing(err) != nil {
				slog.Warn("checkpoint of a trial was not removed", "component", "trainer", "run", s.job.RunID, "trial", t.Trial, "error", err)
			}
		}
	}
}

// finish makes the artifact of the best trial.
func (s *searching) finish(ctx context.Context) (*network.Artifact, error) {
	st := s.standing
	t, err := s.training(st.Best)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if err := t.run(ctx); err != nil { // nothing to do unless its checkpoint is gone
		return nil, err
	}
	a, err := t.finish()
	if err != nil {
		return nil, err
	}
	account := &network.Search{Method: s.method, Space: map[string]json.RawMessage{}, Best: st.Best, Trials: st.Trials}
	for name, r := range s.job.Options.Search.space(s.job.Options) {
		if account.Space[name], err = json.Marshal(r); err != nil {
			return nil, err
		}
	}
	for _, trial := range st.Trials {
		account.Epochs += trial.Epochs
	}
	a.Manifest.Search = account
	return a, nil
}

// within turns the progress of a trial into that of the search.
func (s *searching) within(k int) func(Progress) {
	return func(p Progress) {
		s.place(&p, k)
		if p.Phase == Training {
			rest := max(0, s.epochsLeft(k)-(float64(p.Epoch-1-s.from())+float64(p.Step)/float64(max(p.Steps, 1))))
			if own := left(p); own > 0.01 && (p.Step > 1 || s.pace == 0) { // a first step takes longest
				s.pace = p.SecondsLeft / own
			}
			p.SecondsLeft = s.pace * rest
			p.Share = 1 - rest/float64(planned(s.plan))
			p.Epochs = s.plan[min(s.standing.Round, len(s.plan)-1)].epochs
		}
		s.progress(p)
	}
}

// left is how many epochs a training has left that runs all of them.
func left(p Progress) float64 {
	return float64(p.Epochs-p.Epoch+1) - float64(p.Step)/float64(max(p.Steps, 1))
}

// from is the epoch at which this round began.
func (s *searching) from() int {
	if r := s.standing.Round; r > 0 && r < len(s.plan) {
		return s.plan[r-1].epochs
	}
	return 0
}

// epochsLeft is how many epochs the plan has left when trial k begins its round.
func (s *searching) epochsLeft(k int) float64 {
	st := s.standing
	if st.Round >= len(s.plan) {
		return 0
	}
	n := 0
	for _, g := range st.Going {
		if g == k || st.Rounds[g-1] <= st.Round && st.Trials[g-1].State != network.TrialFailed {
			n++
		}
	}
	now := s.plan[st.Round]
	rest := planned(s.plan) - planned(s.plan[:st.Round+1])
	return float64(n*(now.epochs-s.from()) + rest)
}

// tell reports that a trial is over, or rests.
func (s *searching) tell(k int) {
	trial := s.standing.Trials[k-1]
	p := Progress{Phase: Training, Epoch: trial.Epochs, Epochs: max(trial.Epochs, s.plan[min(s.standing.Round, len(s.plan)-1)].epochs), Rested: &trial}
	s.place(&p, k)
	s.progress(p)
}

// place says where in the search a progress stands.
func (s *searching) place(p *Progress, k int) {
	st := s.standing
	p.Trial, p.Trials, p.Round, p.Rounds = k, len(st.Trials), min(st.Round+1, len(s.plan)), len(s.plan)
	var tried []int
	for _, t := range st.Trials {
		if t.BestEpoch > 0 && t.State != network.TrialFailed && st.Rounds[t.Trial-1] > 0 {
			tried = append(tried, t.Trial)
		}
	}
	if len(tried) > 0 {
		p.BestTrial = ranked(st.Trials, tried)[0]
		p.BestAccuracy = st.Trials[p.BestTrial-1].ValidationAccuracy
	}
}

func trialDir(dir string, k int) string { return filepath.Join(dir, trialsDir, strconv.Itoa(k)) }

// round4 keeps four digits after the point.
func round4(v float64) float64 { return math.Round(v*1e4) / 1e4 }
