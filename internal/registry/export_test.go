package registry

import "time"

// InAnHour makes r see holds and marks as one that comes after an hour does.
func (r *Registry) InAnHour() *Registry {
	r.wall = func() time.Time { return time.Now().Add(holdFor + time.Second) }
	return r
}
