package scheduler

import "time"

// ChunkKind says what a datagram carried that its sender must hear about again.
type ChunkKind uint8

const (
	ChunkPacket  ChunkKind = iota + 1 // an ordered packet: Flow, Seq, Try
	ChunkSkip                         // a SKIP frame: Flow, Seq is the first given up, Count
	ChunkControl                      // a fact of the session: Seq is the session's own name for it
)

// Chunk is one thing carried by a datagram whose loss or arrival matters.
type Chunk struct {
	Kind  ChunkKind
	Try   uint8 // which transmission of the packet this was, from 1
	Count uint16
	Flow  uint16
	Seq   uint64
}

type sentState uint8

const (
	sentOutstanding sentState = iota
	sentAcked
	sentLost
	sentUncounted // an acknowledgement only, never acknowledged itself
)

// sent is the record of one datagram until it is acknowledged or declared lost.
type sent struct {
	at         time.Duration
	size       int32 // UDP payload, bytes
	state      sentState
	probe      bool // an MTU probe: its loss says nothing about congestion (RFC 8899 §3)
	appLimited bool
	told       bool // another path has said that it arrived: its chunks have been handed on
	moved      bool // its chunks have already gone back to their flows (suspect path)
	chunks     uint8
	firstChunk uint64
	// For the delivery rate: the path's counters when this datagram left.
	delivered   uint64
	deliveredAt time.Duration // receiver's clock
	firstSentAt time.Duration
}

// sentLog holds the datagrams of one path from the oldest that is still outstanding, and their chunks, in two rings.
type sentLog struct {
	base, next uint64 // packet numbers [base, next)
	ring       []sent
	cbase      uint64 // chunks [cbase, cnext)
	cnext      uint64
	chunks     []Chunk
}

func (l *sentLog) at(pn uint64) *sent { return &l.ring[pn&uint64(len(l.ring)-1)] }

func (l *sentLog) chunk(i uint64) *Chunk { return &l.chunks[i&uint64(len(l.chunks)-1)] }

// push appends the record of datagram l.next.
func (l *sentLog) push(r sent, chunks []Chunk) {
	if l.next-l.base == uint64(len(l.ring)) {
		grown := make([]sent, max(64, 2*len(l.ring)))
		for pn := l.base; pn < l.next; pn++ {
			grown[pn&uint64(len(grown)-1)] = *l.at(pn)
		}
		l.ring = grown
	}
	for l.cnext-l.cbase+uint64(len(chunks)) > uint64(len(l.chunks)) {
		grown := make([]Chunk, max(64, 2*len(l.chunks)))
		for i := l.cbase; i < l.cnext; i++ {
			grown[i&uint64(len(grown)-1)] = *l.chunk(i)
		}
		l.chunks = grown
	}
	r.firstChunk, r.chunks = l.cnext, uint8(len(chunks))
	for _, c := range chunks {
		*l.chunk(l.cnext) = c
		l.cnext++
	}
	*l.at(l.next) = r
	l.next++
}

// trim forgets the finished records at the front. A lost one is kept for keep, so that its late acknowledgement is
// still understood.
func (l *sentLog) trim(now, keep time.Duration) {
	for l.base < l.next {
		r := l.at(l.base)
		if r.state == sentOutstanding || r.state == sentLost && now-r.at < 2*keep {
			return
		}
		l.cbase = r.firstChunk + uint64(r.chunks)
		l.base++
	}
}

// appendChunks appends the chunks of r to dst.
func (l *sentLog) appendChunks(dst []Chunk, r *sent) []Chunk {
	for i := range uint64(r.chunks) {
		dst = append(dst, *l.chunk(r.firstChunk + i))
	}
	return dst
}
