package sim

import "time"

// Hash is the FNV-1a hash, 64 bit, over every event of a run: instant, place,
// kind, size and the clear header of each datagram. Two runs with the same seed
// have the same hash, or something in the pure rooms is not pure.
type Hash uint64

const (
	fnvBasis = 14695981039346656037
	fnvPrime = 1099511628211
)

func (h *Hash) word(v uint64) {
	x := uint64(*h)
	for range 8 {
		x = (x ^ v&0xff) * fnvPrime
		v >>= 8
	}
	*h = Hash(x)
}

func (h *Hash) bytes(p []byte) {
	x := uint64(*h)
	for _, b := range p {
		x = (x ^ uint64(b)) * fnvPrime
	}
	*h = Hash(x)
}

// Event is one thing that happened to a datagram, for traces.
type Event struct {
	At     time.Duration
	Kind   EventKind
	Uplink int
	Down   bool // exit to gateway
	Size   int  // UDP payload, bytes
	Header [8]byte
}

// EventKind is what happened.
type EventKind uint8

// The kinds: handed to a link, refused or lost there, arrived at the far end.
const (
	EventSent EventKind = iota
	EventDropped
	EventArrived
)

func (h *Hash) event(e *Event) {
	dir := uint64(0)
	if e.Down {
		dir = 1
	}
	h.word(uint64(e.At))
	h.word(uint64(e.Kind)<<40 | uint64(e.Uplink)<<32 | dir<<24 | uint64(e.Size))
	h.bytes(e.Header[:])
}
