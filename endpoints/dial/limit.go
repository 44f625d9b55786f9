package dial

import (
	"fmt"
	"sync"
	"time"
)

// limiter counts what is open, and lets so many new ones through per second.
type limiter struct {
	mu          sync.Mutex
	open, max   int
	rate, burst float64
	tokens      float64
	filled      time.Time // when tokens was right
}

// set changes the limits; what is open stays open. A bucket starts full.
func (l *limiter) set(maxOpen int, rate, burst float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.filled.IsZero() {
		l.tokens, l.filled = burst, time.Now()
	}
	l.max, l.rate, l.burst = maxOpen, rate, burst
}

// take lets one through, for which give is to be called, or says why not.
func (l *limiter) take() (why string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.tokens = min(l.burst, l.tokens+now.Sub(l.filled).Seconds()*l.rate)
	l.filled = now
	switch {
	case l.open >= l.max:
		return fmt.Sprintf("this gateway has %d connections open, its limit", l.open), false
	case l.tokens < 1:
		return fmt.Sprintf("this gateway opens more than %g connections a second, its limit", l.rate), false
	}
	l.tokens--
	l.open++
	return "", true
}

func (l *limiter) give() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
}

func (l *limiter) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}
