package carrier

import "time"

const (
	// roomFirst is how far the peer may write on a new stream before it has been read, in bytes: what smux allows at first.
	roomFirst = 256 << 10
	// roomTime is what a window is for: what the reader takes in so long. A satellite's round trip is 0.6 s.
	roomTime = time.Second
)

// Memory is what the windows of streams beyond roomFirst are taken from. Its methods may be called from several goroutines.
type Memory interface {
	Take(n int) bool // false: there is no more
	Give(n int)      // gives back what was taken
}

// room is the window of a stream whose receiver has to account for its memory: it says how far the peer may write. It grows with what the reader
// takes, and as far as there is memory; a stream that is read slowly holds little.
type room struct {
	memory Memory // nil: there is no other window than that of smux
	window uint64
	told   uint64 // the peer may write bytes below this
	mark   uint64 // what had been read when it was told so
	at     time.Time
}

func (r *room) begin(m Memory, now time.Time) (limit uint64) {
	*r = room{memory: m, window: roomFirst, told: roomFirst, at: now}
	return r.told
}

// read takes how much has been read, and returns what to tell the peer; ok says whether anything. There has to be a memory.
func (r *room) read(read uint64, now time.Time) (limit uint64, ok bool) {
	if read+r.window/2 < r.told {
		return 0, false
	}
	want := uint64(streamWindow)
	if took := now.Sub(r.at); took > 0 {
		want = uint64(min(float64(read-r.mark)*float64(roomTime)/float64(took), streamWindow))
	}
	want = min(want, 2*r.window)
	if want > r.window && r.memory.Take(int(want-r.window)) {
		r.window = want
	}
	r.told, r.mark, r.at = read+r.window, read, now
	return r.told, true
}

// end gives back what was taken.
func (r *room) end() {
	if r.memory != nil && r.window > roomFirst {
		r.memory.Give(int(r.window - roomFirst))
	}
	r.memory = nil
}
