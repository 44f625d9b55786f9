package scheduler

import (
	"sort"
	"time"
)

const (
	// maxPacket is the largest inner packet, bytes, for quanta and thresholds.
	maxPacket = 1500
	// quantum of the deficit round robin: one full packet (RFC 8290 §5.2).
	quantum = maxPacket
	// sparseTarget and sparseInterval are CoDel's defaults (RFC 8289 §4.3, §4.4), for all flows but ordered bulk.
	codelTarget   = 5 * time.Millisecond
	codelInterval = 100 * time.Millisecond
	// staleAfter beyond what CoDel tolerates a packet is dropped: the least retransmission timeout of Linux.
	staleAfter = 200 * time.Millisecond
	// longBacklog is a wait that a flow does not see while its paths live (repairBacklog and the target of unlike paths included).
	longBacklog = 200 * time.Millisecond
	// For bereftFor after a path in use has died, that is bereftBacklog: what waits was meant for more than there is.
	bereftBacklog = 20 * time.Millisecond
	bereftFor     = 2 * time.Second
	// shrunkFor after that inner windows are still made for it: a CUBIC cut to 0.7 at a time, over a backlog of a second, needs several.
	shrunkFor = 10 * time.Second
)

// ring is a list of flows in service order.
type ring struct{ head, tail *flow }

func (r *ring) push(f *flow) {
	f.next = nil
	if r.tail == nil {
		r.head = f
	} else {
		r.tail.next = f
	}
	r.tail = f
}

// remove unlinks f, whose predecessor is prev (nil for the head).
func (r *ring) remove(prev, f *flow) {
	if prev == nil {
		r.head = f.next
	} else {
		prev.next = f.next
	}
	if r.tail == f {
		r.tail = prev
	}
	f.next = nil
}

// after is the flow that follows prev, nil meaning the head of the list.
func (r *ring) after(prev *flow) *flow {
	if prev == nil {
		return r.head
	}
	return prev.next
}

// fairQueue is FQ-CoDel (RFC 8290) with exact flows instead of hash buckets, whose head is taken only when a path for
// it is ready.
type fairQueue struct {
	fresh, old ring
	bytes      int
	packets    int
	limit      int // bytes of packets
	streamed   int // of bytes, what streams have waiting: it cannot be dropped
	streams    int // that have something waiting
	dropped    []Handle
	marks      uint64
	drops      uint64
	overflows  uint64
}

// push appends a packet to its flow. Over the limit, the fattest flow loses from its head.
func (q *fairQueue) push(f *flow, it item, flows []*flow) {
	if it.again {
		f.q.insert(f.repeats, it)
		f.repeats++
	} else {
		f.q.push(it)
	}
	f.bytes += int(it.size)
	q.bytes += int(it.size)
	q.packets++
	if f.list == listNone {
		f.list = listNew
		f.deficit = quantum
		q.fresh.push(f)
	}
	for q.bytes-q.streamed > q.limit {
		fat := f
		for _, g := range flows {
			if g != nil && g.class != Stream && g.bytes > fat.bytes {
				fat = g
			}
		}
		q.overflows++
		fat.surplus += fat.head()
		q.drop(fat)
	}
}

// replaced drops the packet of f that ends at end and waits behind a repeat of itself, of size bytes, unless it has more than that. Those that have not
// been repeated stand in the order of their ends.
func (q *fairQueue) replaced(f *flow, end uint32, size int) {
	n := f.q.len() - f.repeats
	i := f.repeats + sort.Search(n, func(i int) bool { return int32(f.q.at(f.repeats+i).end-end) >= 0 })
	if i == f.q.len() {
		return
	}
	if it := f.q.at(i); it.data && !it.gone && it.end == end && int(it.size) <= size {
		it.gone = true
		f.bytes -= int(it.size)
		q.bytes -= int(it.size)
		q.packets--
		q.dropped = append(q.dropped, it.handle)
		f.skipGone()
	}
}

// skipGone keeps what has been replaced from standing at the head.
func (f *flow) skipGone() {
	for f.q.len() > 0 && f.q.at(0).gone {
		f.q.pop()
	}
}

func (q *fairQueue) take(f *flow) item {
	it := f.q.pop()
	f.skipGone()
	if it.again {
		f.repeats--
	}
	f.bytes -= int(it.size)
	q.bytes -= int(it.size)
	q.packets--
	f.deficit -= int(it.size)
	return it
}

func (q *fairQueue) drop(f *flow) {
	d := f.deficit
	q.dropped = append(q.dropped, q.take(f).handle)
	f.deficit = d
}

// pop takes the packet at the head of f past CoDel. mark says that the packet must carry congestion-experienced.
func (q *fairQueue) pop(now time.Duration, f *flow, lim codelLimits) (it item, mark, ok bool) {
	for f.q.len() > 0 {
		head := f.q.at(0)
		if head.spared {
			return q.take(f), mark, true
		}
		if f.q.len() > 1 && now-head.at > lim.target+lim.interval+staleAfter {
			// Paths have died and what is left will not carry this backlog in time: its sender has given up on the oldest.
			q.drops++
			f.surplus += int(head.size)
			q.drop(f)
			continue
		}
		if !f.cd.drop(now, now-head.at, f.bytes-int(head.size), lim) {
			return q.take(f), mark, true
		}
		f.surplus += int(head.size)
		if head.ect {
			q.marks++
			return q.take(f), true, true
		}
		q.drops++
		q.drop(f)
	}
	return item{}, false, false
}

// settle moves a flow that is empty or has used its quantum out of its place in list, behind prev (nil: the head).
func (q *fairQueue) settle(list *ring, prev, f *flow) {
	list.remove(prev, f)
	switch {
	case !f.idle():
		f.deficit += quantum
		f.list = listOld
		q.old.push(f)
	case f.list == listNew && q.old.head != nil:
		// A new flow that runs dry goes through the old list once, so that it cannot starve the others (RFC 8290 §4.2).
		f.list = listOld
		q.old.push(f)
	default:
		f.list = listNone
	}
}

// unpop puts a packet back to the head of its flow.
func (q *fairQueue) unpop(f *flow, it item) {
	f.q.head--
	*f.q.at(0) = it
	if it.again {
		f.repeats++
	}
	f.bytes += int(it.size)
	q.bytes += int(it.size)
	q.packets++
	f.deficit += int(it.size)
}
