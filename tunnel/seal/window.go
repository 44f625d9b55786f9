package seal

// WindowWidth is how many packet numbers back from the highest a Window
// remembers. At 500 Mbit/s in full-size datagrams it is 380 ms of one path,
// more than datagrams of one path overtake each other by.
const WindowWidth = 1 << 14

// MaxPN is the highest packet number a Window accepts: what fits into a varint
// (RFC 9000, section 12.3).
const MaxPN = 1<<62 - 1

const (
	wordBits = 64
	words    = WindowWidth / wordBits
)

// Window is the replay window of one path: it knows which of the last
// WindowWidth packet numbers have come. Older ones count as come. It is a ring
// of bits as in RFC 6479, with the difference that bits are cleared one by one,
// so that it is exactly as wide as it says.
//
// The zero Window has seen nothing. It is 2 KiB large; do not copy it.
type Window struct {
	next uint64 // one more than the highest pn committed
	// seen has the bit pn mod WindowWidth for every pn in [next-WindowWidth,
	// next).
	seen [words]uint64
}

// Next returns one more than the highest packet number committed, 0 at first:
// the expected number from which to complete the next one.
func (w *Window) Next() uint64 { return w.next }

// Check reports whether pn is new: neither committed before nor too old to
// know. It changes nothing.
func (w *Window) Check(pn uint64) bool {
	if pn >= w.next {
		return pn <= MaxPN
	}
	return !w.Old(pn) && w.seen[pn/wordBits%words]>>(pn%wordBits)&1 == 0
}

// Old reports whether pn is so far behind that the window no longer knows
// whether it has come.
func (w *Window) Old(pn uint64) bool {
	return pn < w.next && w.next-pn > WindowWidth
}

// Commit notes that pn has come; call it only after the datagram has proven
// authentic. It reports whether pn was new, as Check would have done, and
// changes nothing if not.
func (w *Window) Commit(pn uint64) bool {
	if !w.Check(pn) {
		return false
	}
	if pn >= w.next {
		w.forget(w.next, pn)
		w.next = pn + 1
	}
	w.seen[pn/wordBits%words] |= 1 << (pn % wordBits)
	return true
}

// forget clears the bits of first to last, which until now stood for numbers
// WindowWidth lower.
func (w *Window) forget(first, last uint64) {
	if last-first >= WindowWidth {
		w.seen = [words]uint64{}
		return
	}
	for word := first / wordBits; word <= last/wordBits; word++ {
		mask := ^uint64(0)
		if word == first/wordBits {
			mask &= ^uint64(0) << (first % wordBits)
		}
		if word == last/wordBits {
			mask &= ^uint64(0) >> (wordBits - 1 - last%wordBits)
		}
		w.seen[word%words] &^= mask
	}
}
