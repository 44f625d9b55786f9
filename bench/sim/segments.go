package sim

import (
	"slices"
	"time"
)

// segment is one sent and not yet cumulatively acknowledged piece of the
// stream, the sender's scoreboard entry.
type segment struct {
	seq  uint64
	len  int32
	sent time.Duration // of the latest transmission
	// first is the transmission order list, oldest first: neighbours by
	// absolute index, -1 at the ends, unlisted while lost or sacked.
	prev, next int64

	sacked  bool
	lost    bool // marked, and not sent again since
	listed  bool
	retrans bool // sent more than once
	out     bool // the retransmission is under way

	// For rate samples (draft-cheng-iccrg-delivery-rate-estimation).
	delivered   uint64
	deliveredAt time.Duration
	firstSent   time.Duration
	appLimited  bool
}

func (s *segment) end() uint64 { return s.seq + uint64(s.len) }

// segments is a queue of scoreboard entries under absolute indices head..tail,
// and within it a list in the order of transmission (RACK's order).
type segments struct {
	ring           []segment
	head, tail     int64
	oldest, newest int64
}

func (q *segments) init() { q.oldest, q.newest = -1, -1 }

func (q *segments) at(i int64) *segment { return &q.ring[i&int64(len(q.ring)-1)] }

func (q *segments) push(s segment) int64 {
	if q.tail-q.head == int64(len(q.ring)) {
		grown := make([]segment, max(64, 2*len(q.ring)))
		for i := q.head; i < q.tail; i++ {
			grown[i&int64(len(grown)-1)] = *q.at(i)
		}
		q.ring = grown
	}
	i := q.tail
	q.tail++
	*q.at(i) = s
	return i
}

// list appends entry i to the transmission order.
func (q *segments) list(i int64) {
	s := q.at(i)
	s.prev, s.next, s.listed = q.newest, -1, true
	if q.newest >= 0 {
		q.at(q.newest).next = i
	} else {
		q.oldest = i
	}
	q.newest = i
}

func (q *segments) unlist(i int64) {
	s := q.at(i)
	if !s.listed {
		return
	}
	if s.prev >= 0 {
		q.at(s.prev).next = s.next
	} else {
		q.oldest = s.next
	}
	if s.next >= 0 {
		q.at(s.next).prev = s.prev
	} else {
		q.newest = s.prev
	}
	s.listed = false
}

// find is the index of the entry that holds byte seq, which lies in
// [una, nxt); it guesses from an even length and walks from there.
func (q *segments) find(seq uint64, mss int) int64 {
	lo := q.head
	guess := lo + int64((seq-q.at(lo).seq)/uint64(mss))
	i := min(max(guess, lo), q.tail-1)
	for i > lo && q.at(i).seq > seq {
		i--
	}
	for i < q.tail-1 && q.at(i).end() <= seq {
		i++
	}
	return i
}

// split cuts every entry longer than mss, after the path's MTU has fallen. It
// is rare, so it simply builds everything anew.
func (q *segments) split(mss int) {
	old := make([]segment, 0, q.tail-q.head)
	for i := q.head; i < q.tail; i++ {
		old = append(old, *q.at(i))
	}
	*q = segments{}
	q.init()
	for _, s := range old {
		for s.len > int32(mss) {
			first := s
			first.len = int32(mss)
			q.push(first)
			s.seq += uint64(mss)
			s.len -= int32(mss)
		}
		q.push(s)
	}
	var order []int64
	for i := q.head; i < q.tail; i++ {
		if s := q.at(i); s.listed {
			s.listed = false
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int64) int { return int(q.at(a).sent - q.at(b).sent) })
	for _, i := range order {
		q.list(i)
	}
}
