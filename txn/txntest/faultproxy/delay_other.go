//go:build !linux

package faultproxy

import "time"

// A sleeper waits as exactly as Go's timers do.
type sleeper struct{}

// until returns at the time due, or when stop is closed.
func (sleeper) until(due time.Time, stop <-chan struct{}) {
	if !due.IsZero() {
		rest(time.Until(due), stop)
	}
}

func (sleeper) close() {}
