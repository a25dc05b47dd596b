package faultproxy

import "time"

// due is when what was received now is to be passed on.
func (p *Proxy) due() time.Time {
	if d := time.Duration(p.delay.Load()); d > 0 {
		return time.Now().Add(d)
	}
	return time.Time{}
}

// rest waits, unless stop is closed before, which makes it false.
func rest(d time.Duration, stop <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-stop:
		return false
	}
}
