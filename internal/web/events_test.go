package web

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"driftgate/internal/estimate"
)

func TestEventsTellTheStatusWhenItChanges(t *testing.T) {
	f := newFake()
	s := testServer(t, f)
	server := httptest.NewServer(s.engine)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+testToken)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if got := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("%d %s", answer.StatusCode, got)
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	next := func() Status {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var st Status
				if err := json.Unmarshal([]byte(data), &st); err != nil {
					t.Fatal(err)
				}
				return st
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return Status{}
	}
	if st := next(); st.Alarm.State != estimate.Quiet || st.Captured != 12_345 {
		t.Errorf("first status %+v", st)
	}
	f.mu.Lock()
	f.state = estimate.Firing
	f.mu.Unlock()
	if st := next(); st.Alarm.State != estimate.Firing {
		t.Errorf("second status %+v: want the change, and nothing before it", st)
	}
}

func TestEventsAreNotSentWhenNothingChanged(t *testing.T) {
	s := testServer(t, newFake())
	var last []byte
	first, err := s.statusMessage(t.Context(), &last)
	if err != nil || !strings.HasPrefix(string(first), "event: status\nid: ") || strings.Count(string(first), "\n\n") != 1 {
		t.Fatalf("%q, %v", first, err)
	}
	if second, err := s.statusMessage(t.Context(), &last); err != nil || second != nil {
		t.Errorf("the same again: %q, %v", second, err)
	}
}

func TestStreamsAreBoundedInNumber(t *testing.T) {
	s := testServer(t, newFake())
	for range maxStreams {
		s.streams <- struct{}{}
	}
	if got := do(s, "GET", "/events", bearer(testToken)).Code; got != http.StatusServiceUnavailable {
		t.Errorf("one stream too many: %d, want 503", got)
	}
}
