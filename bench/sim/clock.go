package sim

import (
	"fmt"
	"math"
	"time"
)

// Never is the instant of a timer that is not set.
const Never = time.Duration(math.MaxInt64)

// actor names one timer of a clock.
type actor int32

// clock is virtual time: a heap of actors ordered by the instant at which each
// wants to run. Ties go to the actor that was added first, so that equal runs
// are equal in every step.
type clock struct {
	now   time.Duration
	at    []time.Duration
	run   []func(now time.Duration)
	names []string
	heap  []actor
	pos   []int32 // place of an actor in heap, -1 when not set
	// after runs behind every actor, and sees to what it left behind.
	after func(now time.Duration)

	steps   uint64
	instant int // steps since time last moved
}

// maxInstant bounds the steps at one instant: a live-lock becomes an error.
// The largest honest number is that of datagrams a queue releases at once.
const maxInstant = 200_000

// add makes an actor whose timer is not set.
func (c *clock) add(name string, run func(now time.Duration)) actor {
	c.at = append(c.at, Never)
	c.run = append(c.run, run)
	c.names = append(c.names, name)
	c.pos = append(c.pos, -1)
	return actor(len(c.at) - 1)
}

// set moves an actor's timer; Never clears it. An instant in the past is now.
func (c *clock) set(a actor, at time.Duration) {
	if at < c.now {
		at = c.now
	}
	if c.at[a] == at {
		return
	}
	c.at[a] = at
	i := int(c.pos[a])
	switch {
	case at == Never:
		if i >= 0 {
			c.remove(i)
		}
	case i < 0:
		c.heap = append(c.heap, a)
		c.pos[a] = int32(len(c.heap) - 1)
		c.up(len(c.heap) - 1)
	default:
		c.up(i)
		c.down(int(c.pos[a]))
	}
}

// advance runs everything due until the given instant and leaves now there.
func (c *clock) advance(until time.Duration) error {
	for len(c.heap) > 0 {
		a := c.heap[0]
		at := c.at[a]
		if at > until {
			break
		}
		if at > c.now {
			c.now, c.instant = at, 0
		}
		if c.instant++; c.instant > maxInstant {
			return fmt.Errorf("sim: live-lock at %v: %q wants to run again and again at the same instant", c.now, c.names[a])
		}
		c.steps++
		c.at[a] = Never
		c.remove(0)
		c.run[a](c.now)
		if c.after != nil {
			c.after(c.now)
		}
	}
	c.now = max(c.now, until)
	return nil
}

func (c *clock) remove(i int) {
	last := len(c.heap) - 1
	c.pos[c.heap[i]] = -1
	if i != last {
		moved := c.heap[last]
		c.heap[i] = moved
		c.pos[moved] = int32(i)
		c.heap = c.heap[:last]
		c.up(i)
		c.down(int(c.pos[moved]))
		return
	}
	c.heap = c.heap[:last]
}

func (c *clock) less(a, b actor) bool {
	return c.at[a] < c.at[b] || c.at[a] == c.at[b] && a < b
}

func (c *clock) up(i int) {
	a := c.heap[i]
	for i > 0 {
		p := (i - 1) / 2
		if !c.less(a, c.heap[p]) {
			break
		}
		c.heap[i] = c.heap[p]
		c.pos[c.heap[i]] = int32(i)
		i = p
	}
	c.heap[i] = a
	c.pos[a] = int32(i)
}

func (c *clock) down(i int) {
	a := c.heap[i]
	for {
		k := 2*i + 1
		if k >= len(c.heap) {
			break
		}
		if k+1 < len(c.heap) && c.less(c.heap[k+1], c.heap[k]) {
			k++
		}
		if !c.less(c.heap[k], a) {
			break
		}
		c.heap[i] = c.heap[k]
		c.pos[c.heap[i]] = int32(i)
		i = k
	}
	c.heap[i] = a
	c.pos[a] = int32(i)
}
