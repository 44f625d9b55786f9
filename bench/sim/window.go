package sim

// windowBits is how far back a duplicate is told from a packet of a number that
// has come round: half of the 16 bits.
const windowBits = 1 << 15

// window keeps which of a flow's numbered packets have arrived.
type window struct {
	bits     [windowBits / 64]uint64
	next     uint64 // one above the highest seen
	count    uint64
	late     uint64 // arrived behind a later one
	maxLate  uint64 // the farthest behind, in packets
	tooLate  uint64 // outside the window, not judged
	repeated uint64
}

// add notes the packet with the given low 16 bits; false when it has been here.
func (w *window) add(low uint16) bool {
	// The number nearest to next that has these bits.
	n := w.next&^0xffff | uint64(low)
	switch {
	case n+1<<15 < w.next:
		n += 1 << 16
	case n > w.next+1<<15 && n >= 1<<16:
		n -= 1 << 16
	}
	if n >= w.next {
		if n-w.next >= windowBits {
			w.bits = [windowBits / 64]uint64{}
		} else {
			for i := w.next; i <= n; i++ {
				w.bits[i%windowBits/64] &^= 1 << (i % 64)
			}
		}
		w.next = n + 1
	} else {
		behind := w.next - 1 - n
		if behind >= windowBits-1 {
			w.tooLate++
			return true
		}
		if w.bits[n%windowBits/64]>>(n%64)&1 != 0 {
			w.repeated++
			return false
		}
		w.late++
		w.maxLate = max(w.maxLate, behind)
	}
	w.bits[n%windowBits/64] |= 1 << (n % 64)
	w.count++
	return true
}
