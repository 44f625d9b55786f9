package buf

import (
	"sync"
	"sync/atomic"
)

const (
	// Size is the length in bytes of the memory of one Buf. It holds an
	// Ethernet-sized packet with all that is put around it, and two of them
	// fill one 4 KiB page.
	Size = 2048
	// Headroom is where the content of a fresh Buf begins, in bytes. The
	// datagram header, timestamp and frame header in front of a packet take at
	// most 20; the rest leaves room for further frames before the packet, and for
	// the header a TUN device puts in front of it.
	Headroom = 128
	// Tailroom is what MaxPacket leaves free behind a packet, in bytes: 16 for
	// the tag of the AEAD, the rest in reserve.
	Tailroom = 32
	// MaxPacket is the longest packet, in bytes, that fits behind Headroom and
	// can still be sealed in place.
	MaxPacket = Size - Headroom - Tailroom
	// SuperSize is the length in bytes of the memory of a Buf from GetSuper: the
	// longest IP packet. It has no headroom: a super-packet leaves in pieces.
	SuperSize = 1 << 16
)

// Buf holds one packet or one datagram, or a super-packet. Get one from a pool
// with Get or GetSuper; the zero value is not usable.
type Buf struct {
	// CsumStart and CsumOffset say where the transport checksum of the packet
	// remains to be finished: the sum runs from byte CsumStart of the content to
	// its end, and the result belongs at CsumStart+CsumOffset (as in struct
	// virtio_net_hdr with VIRTIO_NET_HDR_F_NEEDS_CSUM). Both are 0 when the
	// checksum is complete.
	CsumStart, CsumOffset uint16
	// Segment says that the content is a super-packet: Headers bytes of headers, and behind them payload for packets of Segment
	// bytes of it each, the last one shorter. 0: an ordinary packet.
	Segment, Headers uint16

	front, end int
	start      int          // front of an empty Buf
	shares     atomic.Int32 // owners beside the one
	pooled     bool
	parent     *Buf // of a part: whose memory it is
	data       []byte
}

var (
	pool      = sync.Pool{New: func() any { return newBuf(Size, Headroom) }}
	superPool = sync.Pool{New: func() any { return newBuf(SuperSize, 0) }}
	partPool  = sync.Pool{New: func() any { return &Buf{pooled: true} }}
)

func newBuf(size, start int) *Buf {
	b := &Buf{pooled: true, data: make([]byte, size), start: start}
	b.poison()
	return b
}

// Get returns an empty buffer whose content begins at Headroom. The caller
// owns it. The memory is not cleared.
func Get() *Buf { return fresh(&pool) }

// GetSuper returns an empty buffer with room for SuperSize bytes.
func GetSuper() *Buf { return fresh(&superPool) }

func fresh(p *sync.Pool) *Buf {
	b := p.Get().(*Buf)
	if raceEnabled && !b.poisoned() {
		panic("buf: internal error: buffer written to after release")
	}
	b.pooled = false
	b.Reset()
	if watched.Load() {
		inUse.Add(1)
	}
	return b
}

var (
	watched atomic.Bool
	inUse   atomic.Int64
)

// Watch counts the buffers that are taken and given back from now on, for tests, and returns a function that tells how many more were taken
// than given back. Those that were left to the garbage collector count as taken, parts do not count.
func Watch() (taken func() int) {
	watched.Store(true)
	start := inUse.Load()
	return func() int { return int(inUse.Load() - start) }
}

// Share makes n further owners: as many further calls of Release are needed,
// from any goroutine. None of them may change the content.
func (b *Buf) Share(n int) {
	b.check()
	b.shares.Add(int32(n))
}

// Part returns bytes [from, to) of the content as a Buf of its own, without headroom or free room. It takes one
// owner's place in b: the last Release of an owner or a part frees the memory. Parts that do not overlap may be
// changed by their owners.
func (b *Buf) Part(from, to int) *Buf {
	p := partPool.Get().(*Buf)
	p.pooled, p.parent = false, b
	p.CsumStart, p.CsumOffset, p.Segment, p.Headers = 0, 0, 0, 0
	p.data = b.data[b.front+from : b.front+to : b.front+to]
	p.start, p.front, p.end = 0, 0, to-from
	return p
}

// Release gives b back to the pool, unless it has other owners; the caller must
// not touch it again. It panics when b was released before.
func (b *Buf) Release() {
	if b.pooled {
		panic("buf: internal error: buffer released twice")
	}
	if parent := b.parent; parent != nil {
		b.pooled, b.parent = true, nil
		b.poison()
		b.data = nil
		partPool.Put(b)
		parent.Release()
		return
	}
	if b.shares.Load() > 0 && b.shares.Add(-1) >= 0 {
		return
	}
	b.shares.Store(0)
	b.pooled = true
	if watched.Load() {
		inUse.Add(-1)
	}
	b.poison()
	if len(b.data) == SuperSize {
		superPool.Put(b)
		return
	}
	pool.Put(b)
}

// Reset makes b empty again, with its content where it began and all fields 0.
func (b *Buf) Reset() {
	b.check()
	b.front, b.end = b.start, b.start
	b.CsumStart, b.CsumOffset = 0, 0
	b.Segment, b.Headers = 0, 0
}

// Bytes returns the content. Its capacity reaches to the end of the buffer, so
// that an AEAD can append its tag in place; Extend then makes the tag part of
// the content.
func (b *Buf) Bytes() []byte {
	b.check()
	return b.data[b.front:b.end]
}

// Len returns the length of the content in bytes.
func (b *Buf) Len() int { return b.end - b.front }

// Room returns the free space behind the content, to be read into. Extend
// makes what was read part of the content.
func (b *Buf) Room() []byte {
	b.check()
	return b.data[b.end:]
}

// Extend grows the content at the tail by n bytes and returns the new part,
// whose bytes are what Room showed there. It panics when the room is shorter
// than n.
func (b *Buf) Extend(n int) []byte {
	b.check()
	if n < 0 || n > len(b.data)-b.end {
		panic("buf: internal error: extended past the end")
	}
	b.end += n
	return b.data[b.end-n : b.end]
}

// Prepend grows the content at the head by n bytes and returns the new part,
// whose bytes are undefined. It panics when less than n bytes are free there.
func (b *Buf) Prepend(n int) []byte {
	b.check()
	if n < 0 || n > b.front {
		panic("buf: internal error: no headroom left")
	}
	b.front -= n
	return b.data[b.front : b.front+n]
}

// Append copies p behind the content. It panics when p is longer than Room.
func (b *Buf) Append(p []byte) { copy(b.Extend(len(p)), p) }

// TrimFront removes the first n bytes of the content. It panics when there are
// fewer.
func (b *Buf) TrimFront(n int) {
	b.check()
	if n < 0 || n > b.Len() {
		panic("buf: internal error: trimmed more than the content")
	}
	b.front += n
}

// Truncate shortens the content to its first n bytes. It panics when there are
// fewer.
func (b *Buf) Truncate(n int) {
	b.check()
	if n < 0 || n > b.Len() {
		panic("buf: internal error: truncated to more than the content")
	}
	b.end = b.front + n
}

// check panics when a released buffer is used. It costs nothing without the
// race detector.
func (b *Buf) check() {
	if raceEnabled && b.pooled {
		panic("buf: internal error: buffer used after release")
	}
}
