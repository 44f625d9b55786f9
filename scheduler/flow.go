package scheduler

import "time"

// Handle is its owner's name for a packet.
type Handle uint32

// Class is the service a flow gets.
type Class uint8

const (
	// Unordered: each packet is delivered as it comes, nothing is sent again (UDP, ICMP, fragments).
	Unordered Class = iota
	// Ordered: delivered in order, sent again within a deadline (TCP that is not carried as a stream).
	Ordered
	// Loose: as Unordered, however much there is of it (pure acknowledgements of an inner TCP: each one replaces those
	// before, so that waiting for a lost one only delays the sender).
	Loose
	// Stream: bytes instead of packets, sent again until they arrive.
	Stream
)

// FlowKey is a keyed hash of the 5-tuple.
type FlowKey uint64

// item is a queued packet.
type item struct {
	handle Handle
	size   int32
	ect    bool
	again  bool // the inner sender repeats it, and it goes ahead
	spared bool // CoDel does not drop it
	data   bool // end is known
	gone   bool // dropped where it stood: its repeat goes ahead of it
	end    uint32
	at     time.Duration
}

// outstanding is an ordered packet that has been sent and is not yet done with.
type outstanding struct {
	handle Handle
	offset uint64 // streams: of the first byte
	size   int32
	tries  uint8
	done   bool // acknowledged or given up
	queued bool // waiting in retx
	atOnce bool // to be delivered without waiting for those before it
	copied bool // a copy went out beside the original, once
	path   PathID
	first  time.Duration
	sent   time.Duration // newest transmission
}

type flowList uint8

const (
	listNone flowList = iota
	listNew
	listOld
)

// flow is the sending side of one 5-tuple.
type flow struct {
	key   FlowKey
	class Class
	slot  int // in Bond.flows

	q       fifo[item]
	bytes   int
	repeats int // of them at the head, packets that the inner sender repeats
	deficit int
	list    flowList
	next    *flow
	cd      codel

	born    time.Duration // first packet
	last    time.Duration // newest packet
	busy    time.Duration // since when the queue has not been empty
	since   time.Duration // start of the current measuring window
	arrived int           // bytes in it
	granted int           // packets so far
	sparse  bool
	bulk    bool

	surplus int // bytes refused or sent late since hearing last looked
	hearing hearing

	top    uint32 // highest position that the inner sender has reached; valid with hasTop
	hasTop bool

	// Ordered flows: packets [base, seq) are outstanding.
	hasID bool
	id    uint16
	base  uint64
	seq   uint64
	out   fifo[outstanding]
	retx  fifo[uint64]
	inRtx bool // is in Bond.rtx

	// Streams.
	offset  uint64 // of the next byte to be granted
	offered int    // bytes ready beyond it
	window  int    // of those, what the peer takes
	more    bool   // more will be offered: the backlog is not all there is
	ended   bool
	inTail  bool // is in Bond.tails
}

// idle reports whether nothing waits.
func (f *flow) idle() bool { return f.bytes == 0 }

// head is the size of what would be sent next, bytes.
func (f *flow) head() int {
	if f.class == Stream {
		return min(f.bytes, maxPacket-streamOverhead-48)
	}
	return int(f.q.at(0).size)
}

// framed is the datagram that size bytes of f need for themselves, bytes.
func (f *flow) framed(size int) int {
	if f.class == Stream {
		return size + streamOverhead
	}
	return size + overhead
}

func (f *flow) outAt(seq uint64) *outstanding {
	if seq < f.base || seq >= f.seq {
		return nil
	}
	return f.out.at(int(seq - f.base))
}

const (
	// sparseBytes per sparseWindow is what a flow may send and still count as sparse: 100 kb/s, voice and games and
	// DNS but no download (research/transport.md §5).
	sparseWindow = 200 * time.Millisecond
	sparseBytes  = 2500
	// A flow that has kept a backlog for bulkAfter is a bulk transfer until its queue has been empty for bulkIdle.
	bulkAfter = 100 * time.Millisecond
	bulkIdle  = 200 * time.Millisecond
	// flowIdle: an ordered flow that was silent for so long gets a new id; the receiver forgets it after Reorder's
	// longer time, so that both never disagree.
	flowIdle = 30 * time.Second
)

// classify updates what kind of flow this is, when a packet of size arrives.
func (f *flow) classify(now time.Duration, size int) {
	if now-f.since > sparseWindow {
		f.sparse = f.arrived <= sparseBytes || now-f.since > 2*sparseWindow
		f.since, f.arrived = now, 0
	}
	f.arrived += size
	if f.arrived > sparseBytes {
		f.sparse = false
	}
	if f.idle() {
		if now-f.last > bulkIdle {
			f.bulk = false
		}
		if !f.bulk {
			f.busy = now
		}
	} else if now-f.busy > bulkAfter {
		f.bulk = true
	}
	f.last = now
}
