package app

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"driftgate/internal/config"
	"driftgate/internal/web"

	"github.com/prometheus/client_golang/prometheus"
)

// writeChunk is what a client must take within the stall timeout, in bytes.
const writeChunk = 64 << 10

// connections bounds how many connections are open at once, in all and from
// one address, and cuts those whose client leaves an answer unread. One beyond
// a bound is closed at once: to let it wait would let one client's idle
// connections keep the others out.
type connections struct {
	net.Listener
	stall   time.Duration
	trusted []netip.Prefix // addresses without a bound of their own
	refused *prometheus.CounterVec

	mu        sync.Mutex
	all, each int // bounds
	open      int
	from      map[string]int
}

func bounded(l net.Listener, c config.HTTP, reg prometheus.Registerer) *connections {
	b := &connections{Listener: l, stall: c.StallTimeout, all: c.MaxConnections, each: c.MaxConnectionsPerIP, from: map[string]int{},
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "driftgate_http_connections_refused_total", Help: "Connections closed unheard, by the bound that was reached.",
		}, []string{"bound"}),
	}
	for _, bound := range []string{"all", "address"} {
		b.refused.WithLabelValues(bound)
	}
	for _, p := range c.TrustedProxies {
		if a, err := netip.ParseAddr(p); err == nil {
			b.trusted = append(b.trusted, netip.PrefixFrom(a, a.BitLen()))
		} else if n, err := netip.ParsePrefix(p); err == nil {
			b.trusted = append(b.trusted, n)
		}
	}
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "driftgate_http_connections", Help: "Connections open.",
	}, func() float64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		return float64(b.open)
	})
	reg.MustRegister(b.refused, open)
	return b
}

// setBounds changes the bounds; connections that are open stay.
func (b *connections) setBounds(all, each int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all, b.each = all, each
}

// Accept waits for a connection within the bounds.
func (b *connections) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		key := b.key(c.RemoteAddr())
		if bound := b.take(key); bound != "" {
			b.refused.WithLabelValues(bound).Inc()
			_ = c.Close() // nothing was said on it
			continue
		}
		return &conn{Conn: c, stall: b.stall, release: sync.OnceFunc(func() { b.give(key) })}, nil
	}
}

// key is what connections are counted by; empty is not counted by address.
func (b *connections) key(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return ""
	}
	ip := tcp.AddrPort().Addr().Unmap()
	for _, p := range b.trusted {
		if p.Contains(ip) {
			return ""
		}
	}
	return web.ClientKey(ip.String())
}

func (b *connections) take(key string) (bound string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.open >= b.all:
		return "all"
	case key != "" && b.from[key] >= b.each:
		return "address"
	}
	b.open++
	if key != "" {
		b.from[key]++
	}
	return ""
}

func (b *connections) give(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open--
	if key == "" {
		return
	}
	if b.from[key]--; b.from[key] == 0 {
		delete(b.from, key)
	}
}

// conn gives back its place when it closes, and gives each chunk that it
// writes its own time: a large answer over a slow line passes, a client that
// reads nothing does not hold its handler forever.
type conn struct {
	net.Conn
	stall   time.Duration
	release func()
}

func (c *conn) Write(p []byte) (n int, err error) {
	for {
		part := p[n:min(len(p), n+writeChunk)]
		if err := c.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(part)
		if n += m; err != nil || n == len(p) {
			return n, err
		}
	}
}

func (c *conn) Close() error {
	c.release()
	return c.Conn.Close()
}

// CloseWrite lets net/http end an answer before it closes a connection whose
// request it has not read.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
