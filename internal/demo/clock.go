package demo

import (
	"sync"
	"time"
)

// Clock is the demo's time: it starts at a given moment and runs Speed times
// as fast as the wall's.
type Clock struct {
	mu    sync.Mutex
	at    time.Time // demo time ...
	wall  time.Time // ... at this moment of the wall's
	speed float64
}

// NewClock returns a clock that stands still at start.
func NewClock(start time.Time) *Clock { return &Clock{at: start.UTC(), wall: time.Now()} }

// Now is the demo's present.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Clock) now() time.Time {
	return c.at.Add(time.Duration(float64(time.Since(c.wall)) * c.speed))
}

// Run makes the clock run at speed from now on; 0 stops it.
func (c *Clock) Run(speed float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.wall, c.speed = c.now(), time.Now(), speed
}
