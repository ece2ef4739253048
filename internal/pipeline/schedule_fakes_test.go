package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	dg "driftgate"
	"driftgate/internal/ledger"
)

// memoryEngine runs everything at once, in no time unless told otherwise.
type memoryEngine struct {
	mu     sync.Mutex
	states map[string]string // by id
	ran    []string          // ids really run, in order
	inputs map[string]any
	takes  time.Duration
	fail   map[string]bool
	busy   map[string]bool // pipelines at work
}

func newMemoryEngine() *memoryEngine {
	return &memoryEngine{states: map[string]string{}, inputs: map[string]any{}, fail: map[string]bool{}, busy: map[string]bool{}}
}

func (m *memoryEngine) StartFor(_ context.Context, id, pipeline, _ string, in any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.states[id] != "" {
		return nil
	}
	if m.busy[pipeline] {
		return fmt.Errorf("two runs of %s at a time", pipeline)
	}
	m.busy[pipeline] = true
	m.inputs[id], m.states[id] = in, "running"
	m.ran = append(m.ran, id)
	return nil
}

func (m *memoryEngine) Restart(ctx context.Context, id string) error {
	m.mu.Lock()
	if m.states[id] != "failed" {
		m.mu.Unlock()
		return nil
	}
	m.states[id], m.fail[id] = "", false
	m.mu.Unlock()
	pipeline, _, _ := strings.Cut(id, "-")
	return m.StartFor(ctx, id, pipeline, "", m.inputs[id])
}

func (m *memoryEngine) Wait(_ context.Context, id string, _ any) error {
	time.Sleep(m.takes)
	m.mu.Lock()
	defer m.mu.Unlock()
	pipeline, _, _ := strings.Cut(id, "-")
	if m.states[id] == "running" {
		m.busy[pipeline] = false
		m.states[id] = "done"
		if m.fail[id] {
			m.states[id] = "failed"
		}
	}
	if m.states[id] == "failed" {
		return errors.New("it failed")
	}
	return nil
}

func (m *memoryEngine) runs() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.ran)
}

type memorySettings struct {
	mu sync.Mutex
	m  map[string]string
}

func (s *memorySettings) Setting(_ context.Context, key string) (string, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.m[key]
	return v, ok, nil
}

func (s *memorySettings) SetSetting(_ context.Context, key, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[key] = value
	return nil
}

type memoryInbox struct {
	mu           sync.Mutex
	submitted    []dg.Trigger
	requested    []ledger.Run
	reconsidered int
}

func (m *memoryInbox) Submit(_ context.Context, t dg.Trigger) (ledger.TriggerRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.submitted = append(m.submitted, t)
	return ledger.TriggerRecord{Trigger: t, Decision: dg.Accepted}, nil
}

func (m *memoryInbox) Requested(context.Context) ([]ledger.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.requested), nil
}

func (m *memoryInbox) Reconsider(context.Context) ([]ledger.TriggerRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reconsidered++
	return nil, nil
}
