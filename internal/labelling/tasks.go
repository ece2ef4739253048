package labelling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// Limits of what an annotator may ask for.
const (
	maxLease     = 100  // tasks at once
	maxAnnotator = 64   // characters
	maxRemember  = 1000 // answers to undo, and skips, an annotator
)

// Task is one question to a person.
type Task struct {
	ID             string     `json:"id"`
	Key            string     `json:"key"`
	PredictedClass string     `json:"predicted_class"`
	Confidence     float64    `json:"confidence"` // 0 to 1; NaN when the model gave none
	CorrectedClass string     `json:"corrected_class,omitempty"`
	Flagged        bool       `json:"flagged"`
	Stratum        dg.Stratum `json:"stratum"`
	ModelVersion   string     `json:"model_version"`
	Timestamp      time.Time  `json:"timestamp"`
}

// MarshalJSON writes a missing confidence as null.
func (t Task) MarshalJSON() ([]byte, error) {
	type plain Task
	if !math.IsNaN(t.Confidence) {
		return json.Marshal(plain(t))
	}
	return json.Marshal(struct {
		plain
		Confidence *float64 `json:"confidence"`
	}{plain: plain(t)})
}

func taskOf(r ledger.Record) Task {
	return Task{ID: r.ID(), Key: r.Key, PredictedClass: r.PredictedClass, Confidence: r.Confidence, CorrectedClass: r.CorrectedClass,
		Flagged: r.Flagged, Stratum: r.Stratum, ModelVersion: r.ModelVersion, Timestamp: r.Timestamp}
}

// lease gives a task to one annotator for a while. It lives in memory: after a
// restart more people may get a task than it needs, and who answers last is
// told that it is answered.
type lease struct {
	annotator string
	until     time.Time // wall clock
}

// others is how many annotators but this one hold a lease on a sample, one of
// them, and whether this one does. s.mu is held.
func (s *Service) others(id, annotator string) (n int, who string, own bool) {
	now := time.Now()
	for _, l := range s.leases[id] {
		switch {
		case !now.Before(l.until):
		case l.annotator == annotator:
			own = true
		default:
			n, who = n+1, l.annotator
		}
	}
	return n, who, own
}

// grant leases a task, anew if the annotator holds it. s.mu is held.
func (s *Service) grant(id, annotator string) {
	s.release(id, annotator)
	s.leases[id] = append(s.leases[id], lease{annotator, time.Now().Add(s.o.Lease)})
}

// release ends an annotator's lease. s.mu is held.
func (s *Service) release(id, annotator string) {
	s.prune(id, func(l lease) bool { return l.annotator == annotator })
}

func (s *Service) prune(id string, gone func(lease) bool) {
	if s.leases[id] = slices.DeleteFunc(s.leases[id], gone); len(s.leases[id]) == 0 {
		delete(s.leases, id)
	}
}

func checkAnnotator(name string) error {
	if name == "" || utf8.RuneCountInString(name) > maxAnnotator {
		return fmt.Errorf("annotator %q: want 1 to %d characters: %w", name, maxAnnotator, dg.ErrInvalid)
	}
	return nil
}

// Lease hands out up to n (1 to 100) tasks that the annotator has not answered,
// oldest first, those that they hold already included. Nobody else gets them,
// beyond the people that a task needs, until they are answered, skipped, or the
// lease runs out. What the annotator has skipped comes back last.
func (s *Service) Lease(ctx context.Context, annotator string, n int) ([]Task, error) {
	if err := checkAnnotator(annotator); err != nil {
		return nil, fmt.Errorf("labelling: lease: %w", err)
	}
	if n < 1 || n > maxLease {
		return nil, fmt.Errorf("labelling: lease %d tasks: want 1 to %d: %w", n, maxLease, dg.ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, id := range slices.Collect(maps.Keys(s.leases)) {
		s.prune(id, func(l lease) bool { return !now.Before(l.until) })
	}
	skipped := s.skipped[annotator]
	asked, err := s.ledger.Asking(ctx, annotator, s.o.quorum(), n+len(s.leases)+len(skipped))
	if err != nil {
		return nil, fmt.Errorf("labelling: lease: %w", err)
	}
	var first, last []Task
	for _, a := range asked {
		if n, _, own := s.others(a.ID(), annotator); !own && n >= a.Wanted {
			continue
		}
		if slices.Contains(skipped, a.ID()) {
			last = append(last, taskOf(a.Record))
		} else {
			first = append(first, taskOf(a.Record))
		}
	}
	slices.SortStableFunc(last, func(a, b Task) int { return slices.Index(skipped, a.ID) - slices.Index(skipped, b.ID) })
	tasks := append(first, last...)
	tasks = tasks[:min(n, len(tasks))]
	for _, t := range tasks {
		s.grant(t.ID, annotator)
	}
	return tasks, nil
}

// Answer records an annotator's label; an earlier answer of theirs that is not
// collected yet is replaced. The error is [driftgate.ErrInvalid] for a label
// that is no class or a sample nobody was asked about, [driftgate.ErrNotFound]
// for an unknown one, [driftgate.ErrConflict] when it is collected, when enough
// others have answered, or when others hold all its leases.
func (s *Service) Answer(ctx context.Context, annotator, id, label string) error {
	if err := checkAnnotator(annotator); err != nil {
		return fmt.Errorf("labelling: answer %s: %w", id, err)
	}
	if classes := s.o.Classes(); classes.Index(label) < 0 {
		return fmt.Errorf("labelling: answer %s: label %q: want one of %q: %w", id, label, []string(classes), dg.ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.welcome(ctx, annotator, id); err != nil {
		return fmt.Errorf("labelling: answer %s: %w", id, err)
	}
	a := ledger.Answer{ID: id, Label: label, Annotator: annotator, Source: dg.HumanLabel, At: s.o.Now().UTC()}
	if err := s.ledger.Answer(ctx, a); err != nil {
		return fmt.Errorf("labelling: answer: %w", err)
	}
	s.release(id, annotator)
	s.unskip(annotator, id)
	note(s.undo, annotator, id)
	return nil
}

// welcome refuses the answer of a person whom nobody asks. Who has answered or
// holds a lease may. s.mu is held.
func (s *Service) welcome(ctx context.Context, annotator, id string) error {
	answers, err := s.ledger.AnswersOf(ctx, id)
	if err != nil {
		return err
	}
	others, who, own := s.others(id, annotator)
	if _, answered := answerOf(answers[id], annotator); answered || own {
		return nil
	}
	want := wanted(answers[id], s.o.quorum())
	switch n := len(answers[id]); {
	case want == 0 && n == 1:
		return fmt.Errorf("%s has answered: %w", answers[id][0].Annotator, dg.ErrConflict)
	case want == 0:
		return fmt.Errorf("%d people have answered: %w", n, dg.ErrConflict)
	case others >= want:
		return fmt.Errorf("%s is at it: %w", who, dg.ErrConflict)
	}
	return nil
}

// remember appends id as the newest of a bounded list without doubles.
func remember(list []string, id string) []string {
	list = append(slices.DeleteFunc(list, func(other string) bool { return other == id }), id)
	return list[max(0, len(list)-maxRemember):]
}

// maxNames bounds the annotators of whom something is remembered: names are
// free text. Who is forgotten gets skipped tasks in their old place, and takes
// answers back by what the ledger knows.
const maxNames = 1000

// note remembers id for an annotator, and forgets another one when there are
// too many. The service's mu is held.
func note(lists map[string][]string, annotator, id string) {
	lists[annotator] = remember(lists[annotator], id)
	for name := range lists {
		if len(lists) <= maxNames {
			return
		}
		if name != annotator {
			delete(lists, name)
		}
	}
}

func (s *Service) unskip(annotator, id string) {
	s.skipped[annotator] = slices.DeleteFunc(s.skipped[annotator], func(other string) bool { return other == id })
}

// Skip gives a task back; the annotator gets it again after all others.
func (s *Service) Skip(ctx context.Context, annotator, id string) error {
	if err := checkAnnotator(annotator); err != nil {
		return fmt.Errorf("labelling: skip %s: %w", id, err)
	}
	if _, err := s.ledger.Record(ctx, id); err != nil {
		return fmt.Errorf("labelling: skip: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(id, annotator)
	note(s.skipped, annotator, id)
	return nil
}

// Undo takes back the annotator's last answer and leases its task to them
// again; what others said stays. The error is [driftgate.ErrConflict] when it
// is collected already, [driftgate.ErrNotFound] when there is none.
func (s *Service) Undo(ctx context.Context, annotator string) (Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := s.takeBackLast(ctx, annotator)
	if err != nil {
		return Task{}, fmt.Errorf("labelling: undo: %w", err)
	}
	r, err := s.ledger.Record(ctx, id)
	if err != nil {
		return Task{}, fmt.Errorf("labelling: undo: %w", err)
	}
	s.grant(id, annotator)
	return taskOf(r), nil
}

// takeBackLast takes back the newest answer of an annotator that is still
// there: by what is remembered or, after a restart, by the ledger. s.mu is held.
func (s *Service) takeBackLast(ctx context.Context, annotator string) (id string, err error) {
	for len(s.undo[annotator]) > 0 {
		list := s.undo[annotator]
		id = list[len(list)-1]
		err := s.ledger.Unanswer(ctx, id, annotator)
		if err != nil && !errors.Is(err, dg.ErrConflict) && !errors.Is(err, dg.ErrNotFound) {
			return "", err
		}
		s.undo[annotator] = list[:len(list)-1]
		if !errors.Is(err, dg.ErrNotFound) { // forgotten with its sample, or with a label that was withdrawn
			return id, err
		}
	}
	a, err := s.ledger.LastAnswer(ctx, annotator)
	if errors.Is(err, dg.ErrNotFound) {
		return "", fmt.Errorf("no answer of %q is left to take back: %w", annotator, dg.ErrNotFound)
	}
	if err != nil {
		return "", err
	}
	return a.ID, s.ledger.Unanswer(ctx, a.ID, annotator)
}

// Progress counts the tasks that wait, are answered, and are collected.
func (s *Service) Progress(ctx context.Context) (ledger.LabelProgress, error) {
	return s.ledger.Progress(ctx, s.o.quorum())
}

// Image returns a sample's image and its content type, from wherever it is;
// the error is [driftgate.ErrNotFound].
func (s *Service) Image(ctx context.Context, id string) ([]byte, string, error) {
	r, err := s.ledger.Record(ctx, id)
	if err != nil {
		return nil, "", fmt.Errorf("labelling: image: %w", err)
	}
	type place struct{ bucket, key string }
	places := []place{{s.buckets.Production, r.Key}}
	switch r.State {
	case ledger.Waiting:
		places = append([]place{{s.buckets.Waiting, r.Key}}, places...)
	case ledger.Labelled:
		if class := s.o.Classes().Index(r.Label); class >= 0 {
			places = append(places, place{s.buckets.Clean, dg.SampleKey(class, id)})
		}
	}
	for _, p := range places {
		body, obj, err := s.store.Get(ctx, p.bucket, p.key)
		if err == nil {
			return body, obj.ContentType, nil
		}
		if !errors.Is(err, dg.ErrNotFound) {
			return nil, "", fmt.Errorf("labelling: image: %w", err)
		}
	}
	return nil, "", fmt.Errorf("labelling: image of %s: in no bucket: %w", id, dg.ErrNotFound)
}
