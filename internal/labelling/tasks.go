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
// restart two people may get the same task, and the later answer counts.
type lease struct {
	annotator string
	until     time.Time // wall clock
}

func checkAnnotator(name string) error {
	if name == "" || utf8.RuneCountInString(name) > maxAnnotator {
		return fmt.Errorf("annotator %q: want 1 to %d characters: %w", name, maxAnnotator, dg.ErrInvalid)
	}
	return nil
}

// Lease hands out up to n (1 to 100) tasks, oldest first, those that the
// annotator holds already included. Nobody else gets them until they are
// answered, skipped, or the lease runs out. What the annotator has skipped
// comes back last.
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
	maps.DeleteFunc(s.leases, func(_ string, l lease) bool { return !now.Before(l.until) })
	skipped := s.skipped[annotator]
	records, err := s.ledger.Waiting(ctx, n+len(s.leases)+len(skipped))
	if err != nil {
		return nil, fmt.Errorf("labelling: lease: %w", err)
	}
	var first, last []Task
	for _, r := range records {
		if l, ok := s.leases[r.ID()]; ok && l.annotator != annotator {
			continue
		}
		if slices.Contains(skipped, r.ID()) {
			last = append(last, taskOf(r))
		} else {
			first = append(first, taskOf(r))
		}
	}
	slices.SortStableFunc(last, func(a, b Task) int { return slices.Index(skipped, a.ID) - slices.Index(skipped, b.ID) })
	tasks := append(first, last...)
	tasks = tasks[:min(n, len(tasks))]
	for _, t := range tasks {
		s.leases[t.ID] = lease{annotator, now.Add(s.o.Lease)}
	}
	return tasks, nil
}

// Answer records an annotator's label; an earlier answer that is not collected
// yet is replaced. The error is [driftgate.ErrInvalid] for a label that is no
// class or a sample nobody was asked about, [driftgate.ErrNotFound] for an
// unknown one, [driftgate.ErrConflict] when it is collected or another
// annotator holds its lease.
func (s *Service) Answer(ctx context.Context, annotator, id, label string) error {
	if err := checkAnnotator(annotator); err != nil {
		return fmt.Errorf("labelling: answer %s: %w", id, err)
	}
	if classes := s.o.Classes(); classes.Index(label) < 0 {
		return fmt.Errorf("labelling: answer %s: label %q: want one of %q: %w", id, label, []string(classes), dg.ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.changeable(ctx, id); err != nil {
		return fmt.Errorf("labelling: answer %s: %w", id, err)
	}
	if l, ok := s.leases[id]; ok && l.annotator != annotator && time.Now().Before(l.until) {
		return fmt.Errorf("labelling: answer %s: %s is at it: %w", id, l.annotator, dg.ErrConflict)
	}
	a := ledger.Answer{ID: id, Label: label, Annotator: annotator, Source: dg.HumanLabel, At: s.o.Now().UTC()}
	if err := s.ledger.Answer(ctx, a); err != nil {
		return fmt.Errorf("labelling: answer: %w", err)
	}
	delete(s.leases, id)
	s.unskip(annotator, id)
	s.undo[annotator] = remember(s.undo[annotator], id)
	return nil
}

// changeable refuses an answer whose image is on its way already. s.mu is held.
func (s *Service) changeable(ctx context.Context, id string) error {
	if err := s.loadFrozen(ctx); err != nil {
		return err
	}
	if label, ok := s.frozen[id]; ok {
		return fmt.Errorf("%q is being collected: %w", label, dg.ErrConflict)
	}
	return nil
}

// remember appends id as the newest of a bounded list without doubles.
func remember(list []string, id string) []string {
	list = append(slices.DeleteFunc(list, func(other string) bool { return other == id }), id)
	return list[max(0, len(list)-maxRemember):]
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
	if l, ok := s.leases[id]; ok && l.annotator == annotator {
		delete(s.leases, id)
	}
	s.skipped[annotator] = remember(s.skipped[annotator], id)
	return nil
}

// Undo takes back the annotator's last answer and leases its task to them
// again. The error is [driftgate.ErrConflict] when it is collected already,
// [driftgate.ErrNotFound] when there is none.
func (s *Service) Undo(ctx context.Context, annotator string) (Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := s.lastAnswer(ctx, annotator)
	if err == nil {
		err = s.changeable(ctx, id)
	}
	if err == nil {
		err = s.ledger.Unanswer(ctx, id)
	}
	if err != nil && !errors.Is(err, dg.ErrConflict) {
		return Task{}, fmt.Errorf("labelling: undo: %w", err)
	}
	s.undo[annotator] = slices.DeleteFunc(s.undo[annotator], func(other string) bool { return other == id })
	if err != nil {
		return Task{}, fmt.Errorf("labelling: undo: %w", err)
	}
	r, err := s.ledger.Record(ctx, id)
	if err != nil {
		return Task{}, fmt.Errorf("labelling: undo: %w", err)
	}
	s.leases[id] = lease{annotator, time.Now().Add(s.o.Lease)}
	return taskOf(r), nil
}

// lastAnswer is the id an annotator answered last, from memory or, after a
// restart, from the ledger. s.mu is held.
func (s *Service) lastAnswer(ctx context.Context, annotator string) (string, error) {
	if list := s.undo[annotator]; len(list) > 0 {
		return list[len(list)-1], nil
	}
	answers, err := s.ledger.Answers(ctx, endOfTime)
	if err != nil {
		return "", err
	}
	for _, a := range slices.Backward(answers) { // oldest first
		if a.Annotator == annotator {
			return a.ID, nil
		}
	}
	return "", fmt.Errorf("no answer of %q is left to take back: %w", annotator, dg.ErrNotFound)
}

// Progress counts the tasks that wait, are answered, and are collected.
func (s *Service) Progress(ctx context.Context) (ledger.LabelProgress, error) {
	return s.ledger.Progress(ctx)
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
