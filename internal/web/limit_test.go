package web

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheLimitLetsBurstsThroughAndRefills(t *testing.T) {
	l := newLimiter(2, 3)
	now := testNow
	for i := range 3 {
		if !l.allow("a", now) {
			t.Fatalf("request %d of a burst of 3 is refused", i+1)
		}
	}
	if l.allow("a", now) {
		t.Error("a fourth request at once is let through")
	}
	if !l.allow("b", now) {
		t.Error("one client's burst refuses another")
	}
	if !l.allow("a", now.Add(500*time.Millisecond)) || l.allow("a", now.Add(500*time.Millisecond)) {
		t.Error("half a second at 2 a second is not one request")
	}
	if l.allow("a", now) {
		t.Error("a clock that steps back refills")
	}
}

func TestTheLimitKeepsBoundedMemory(t *testing.T) {
	l := newLimiter(1, 1)
	for i := range 3 * maxClients {
		l.allow(fmt.Sprint(i), testNow)
	}
	if len(l.buckets) > maxClients {
		t.Errorf("%d clients kept, want at most %d", len(l.buckets), maxClients)
	}
}

func TestOneIPv6NetworkIsOneClient(t *testing.T) {
	if a, b := ClientKey("2001:db8::1"), ClientKey("2001:db8::ffff:2"); a != b {
		t.Errorf("%q and %q, want the same", a, b)
	}
	if a, b := ClientKey("192.0.2.1"), ClientKey("192.0.2.2"); a == b {
		t.Errorf("two IPv4 addresses are both %q", a)
	}
}

func TestTooManyRequestsAreRefusedWithAWordWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testServer(t, newFake(), func(o *Options) { o.RatePerSecond, o.RateBurst = 1, 2 })
		codes := []int{do(s, "GET", "/version").Code, do(s, "GET", "/version").Code}
		w := do(s, "GET", "/version")
		if codes[0] != 200 || codes[1] != 200 || w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
			t.Errorf("answers %v, then %d with Retry-After %q", codes, w.Code, w.Header().Get("Retry-After"))
		}
		if got := do(s, "GET", "/api/v1/models", bearer(testToken)).Code; got != http.StatusOK {
			t.Errorf("the token is limited too: %d", got)
		}
		if got := do(s, "GET", "/api/v1/models", bearer("guess")).Code; got != http.StatusTooManyRequests {
			t.Errorf("guessing tokens is not limited: %d", got)
		}
		time.Sleep(time.Second)
		if got := do(s, "GET", "/version").Code; got != http.StatusOK {
			t.Errorf("a second later: %d", got)
		}
	})
}
