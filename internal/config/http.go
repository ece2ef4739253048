package config

import (
	"fmt"
	"net/netip"
	"time"
)

// check returns what is wrong with the limits of the edge.
func (h HTTP) check() []fault {
	var out []fault
	want := func(ok bool, key, format string, args ...any) {
		if !ok {
			out = append(out, fault{"http." + key, fmt.Sprintf(format, args...)})
		}
	}
	want(h.RatePerIP >= 0, "rate_per_ip", "%g: want 0 or more", h.RatePerIP)
	want(h.AlertsToken == "" || len(h.AlertsToken) >= 16, "alerts_token", "too short: want at least 16 characters, or none")
	want(h.AlertsToken == "" || h.AlertsToken != h.Token, "alerts_token", "the same as http.token: want another, for it opens less")
	for _, p := range h.TrustedProxies {
		_, addr := netip.ParseAddr(p)
		_, network := netip.ParsePrefix(p)
		want(addr == nil || network == nil, "trusted_proxies", "%q: want an address or a network, such as 10.0.0.0/8", p)
	}
	want(h.MaxInFlight >= 1, "max_in_flight", "%d: want at least 1", h.MaxInFlight)
	want(h.MaxConnections >= 1, "max_connections", "%d: want at least 1", h.MaxConnections)
	want(h.MaxConnectionsPerIP >= 1 && h.MaxConnectionsPerIP <= h.MaxConnections, "max_connections_per_ip",
		"%d: want 1 to http.max_connections (%d)", h.MaxConnectionsPerIP, h.MaxConnections)
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"header_timeout", h.HeaderTimeout}, {"read_timeout", h.ReadTimeout}, {"stall_timeout", h.StallTimeout}} {
		want(d.value > 0, d.key, "%s: want more than 0s", d.value)
	}
	return out
}
