package web

import (
	"net/netip"
	"sync"
	"time"
)

// maxClients bounds the memory of the rate limit. When more clients than this
// are active at once, the one seen longest ago among a few is forgotten; a
// forgotten client starts with a full bucket.
const maxClients = 8192

// limiter is a token bucket a client.
type limiter struct {
	mu        sync.Mutex
	perSecond float64 // refill; 0 or less lets everything through
	burst     float64
	buckets   map[string]*bucket
}

type bucket struct {
	tokens float64
	seen   time.Time
}

func newLimiter(perSecond float64, burst int) *limiter {
	return &limiter{perSecond: perSecond, burst: float64(max(burst, 1)), buckets: map[string]*bucket{}}
}

// allow takes one token of client's bucket, and reports whether there was one.
func (l *limiter) allow(client string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.perSecond <= 0 {
		return true
	}
	b, ok := l.buckets[client]
	if !ok {
		if len(l.buckets) >= maxClients {
			l.forget(now)
		}
		b = &bucket{tokens: l.burst, seen: now}
		l.buckets[client] = b
	}
	if d := now.Sub(b.seen); d > 0 {
		b.tokens = min(l.burst, b.tokens+d.Seconds()*l.perSecond)
		b.seen = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// forget makes room: it drops the oldest of a few random entries (Go's map
// order is random), and with it every other one that has refilled.
func (l *limiter) forget(now time.Time) {
	const look = 16
	refill := time.Duration(l.burst / l.perSecond * float64(time.Second))
	oldest, n := "", 0
	for k, b := range l.buckets {
		if now.Sub(b.seen) > refill {
			delete(l.buckets, k)
			continue
		}
		if oldest == "" || b.seen.Before(l.buckets[oldest].seen) {
			oldest = k
		}
		if n++; n >= look {
			break
		}
	}
	if len(l.buckets) >= maxClients {
		delete(l.buckets, oldest)
	}
}

// set changes the rate; what clients have left stays as it is.
func (l *limiter) set(perSecond float64, burst int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.perSecond, l.burst = perSecond, float64(max(burst, 1))
}

// ClientKey groups addresses that one person can hold: an IPv6 /64 counts as
// one client.
func ClientKey(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil || a.Unmap().Is4() {
		return ip
	}
	p, err := a.Prefix(64)
	if err != nil {
		return ip
	}
	return p.String()
}
