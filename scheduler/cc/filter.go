package cc

import (
	"math"
	"time"
)

// never is a deadline that does not come.
const never = time.Duration(math.MaxInt64)

// slots is the resolution of a windowed minimum: a value is forgotten after
// 7/8 to 8/8 of the window.
const slots = 8

// minimum is the smallest duration seen within a window of time, by slots: a
// few words however many samples come.
type minimum struct {
	slot  [slots]time.Duration // smallest of each slot; never where there was none
	width time.Duration        // length of one slot; 0: no sample yet
	index int64                // number of the newest slot since the origin
}

// add files a sample. Changing the span keeps the present minimum.
func (m *minimum) add(now time.Duration, span time.Duration, v time.Duration) {
	width := max(span/slots, 1)
	if m.width == 0 {
		m.reset()
		m.width, m.index = width, int64(now/width)
	} else if width > m.width*5/4 || width < m.width*4/5 {
		old := m.value(now)
		m.reset()
		m.width, m.index = width, int64(now/width)
		m.slot[m.place(m.index)] = old
	}
	m.roll(now)
	p := &m.slot[m.place(m.index)]
	*p = min(*p, v)
}

// value is the minimum of the window that ends now, or never.
func (m *minimum) value(now time.Duration) time.Duration {
	if m.width == 0 {
		return never
	}
	m.roll(now)
	least := never
	for _, v := range m.slot {
		least = min(least, v)
	}
	return least
}

// lift raises all that it remembers.
func (m *minimum) lift(by time.Duration) {
	for i, v := range m.slot {
		if v != never {
			m.slot[i] = v + by
		}
	}
}

func (m *minimum) reset() {
	for i := range m.slot {
		m.slot[i] = never
	}
	m.width = 0
}

// roll empties the slots that time has passed over.
func (m *minimum) roll(now time.Duration) {
	index := int64(now / m.width)
	for n := 0; m.index < index; n++ {
		if n == slots {
			m.index = index
			break
		}
		m.index++
		m.slot[m.place(m.index)] = never
	}
}

func (m *minimum) place(index int64) int { return int(index % slots) }

// bandwidth is the largest delivery rate of this probing cycle and the one
// before (BBRv2's two-cycle maximum, draft-ietf-ccwg-bbr §5.5.6).
type bandwidth struct{ current, previous float64 }

func (b *bandwidth) add(rate float64) { b.current = max(b.current, rate) }
func (b *bandwidth) value() float64   { return max(b.current, b.previous) }

// limit forgets what lies above rate.
func (b *bandwidth) limit(rate float64) {
	b.current, b.previous = min(b.current, rate), min(b.previous, rate)
}

// advance ends a cycle. A cycle without a sample does not count: being
// app-limited must not lower the estimate.
func (b *bandwidth) advance() {
	if b.current > 0 {
		b.previous, b.current = b.current, 0
	}
}

// BaseWindow is how long Base remembers. Long, because a neighbour on the link
// can keep a queue standing for many seconds, and a base that forgets takes
// that queue for the road; a road that really became longer is recognised by
// the controller itself. Much longer than a minute nothing is gained: a
// neighbour who never pauses for so long is there to stay.
const BaseWindow = 60 * time.Second

const (
	// maxDrift is how fast the clocks of two hosts go apart at most: crystals
	// are good for 50 to 100 ppm each. In a BaseWindow that is 12 ms, which
	// would be taken for a queue.
	maxDrift = 200e-6
	// emptyRoad: a round trip so near the shortest met no queue either way.
	emptyRoad = time.Millisecond
)

// Base turns relative one-way delays (receive clock minus send clock, any
// constant offset) into queueing delays: the delay above the smallest of
// BaseWindow. One per path and direction, kept by the owner of the path, who
// puts its answer into Ack.Queue.
//
// The clocks may drift apart. Round trips do not know of that: where one is as
// short as any, what its one-way delay has above the base is drift, and the
// base rises with it.
type Base struct {
	low, trip minimum
	level     time.Duration // when the base was last compared with an empty road
}

// Queue files a relative one-way delay, and the round trip of the same datagram, and returns how far the delay is above the base.
func (b *Base) Queue(now, oneWay, trip time.Duration) time.Duration {
	b.trip.add(now, BaseWindow, trip)
	if trip <= b.trip.value(now)+emptyRoad {
		if above := oneWay - b.low.value(now); above > 0 {
			b.low.lift(min(above, time.Duration(maxDrift*float64(now-b.level))))
		}
		b.level = now
	}
	b.low.add(now, BaseWindow, oneWay)
	return max(0, oneWay-b.low.value(now))
}

// Low is the base itself, and false before the first sample.
func (b *Base) Low(now time.Duration) (time.Duration, bool) {
	v := b.low.value(now)
	return v, v != never
}

// Reset forgets the base: the path has moved.
func (b *Base) Reset() { *b = Base{} }
