package endpoints

import (
	"math/rand/v2"
	"time"

	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
)

// session is what an engine asks of a tunnel.Session, which says what each method does. It exists so that the engine can be
// tested with a scripted one.
type session interface {
	AddPath(now time.Duration, spec tunnel.PathSpec) (tunnel.PathID, error)
	RemovePath(now time.Duration, id tunnel.PathID)
	MovePath(now time.Duration, id tunnel.PathID, to tunnel.Endpoint, mtu int)
	SetTerms(now time.Duration, id tunnel.PathID, spec tunnel.PathSpec)
	PathFailed(now time.Duration, id tunnel.PathID)

	PushPackets(now time.Duration, packets []*buf.Buf)
	PushDatagrams(now time.Duration, arrivals []tunnel.Arrival)
	PullDatagrams(now time.Duration, out []tunnel.Out) int
	PullPackets(now time.Duration, out []*buf.Buf) int

	Advance(now time.Duration)
	Deadline() time.Duration

	OpenStream(now time.Duration, target []byte) (tunnel.StreamID, error)
	StreamAccept(now time.Duration, id tunnel.StreamID)
	StreamRoom(id tunnel.StreamID) int
	StreamWrite(now time.Duration, id tunnel.StreamID, data []byte) error
	StreamEnd(now time.Duration, id tunnel.StreamID)
	StreamRead(now time.Duration, id tunnel.StreamID, out []*buf.Buf) (n int, eof bool)
	StreamReset(now time.Duration, id tunnel.StreamID, code uint64)
	StreamAbort(now time.Duration, id tunnel.StreamID, code uint64) (done bool)
	StreamEvent() (tunnel.StreamEvent, bool)
	StreamHeld() int
	SetStreamBytes(n int)

	Watch(now time.Duration, on bool)
	Event() (tunnel.Event, bool)
	InnerMTU() int
	Alive(now time.Duration) bool
	Stats(now time.Duration) tunnel.Stats
	Close(now time.Duration, code uint64, reason string)
}

// newSession makes the real one.
func newSession(now time.Duration, cfg tunnel.Config, rng *rand.Rand) (session, error) {
	cfg.Spent = reuse
	return tunnel.New(now, cfg, rng)
}

// Codes of a CLOSE frame sent from here. The peer only shows them.
const (
	closeShutdown = 0 // the node ends
	closeReplaced = 1 // the same gateway has a newer session
	closeGone     = 2 // nothing was heard for too long
	closeRemoved  = 3 // the gateway is not in the configuration any more
	closeMoved    = 4 // the gateway has other inner addresses now
	closeUnused   = 5 // the gateway uses another exit
)
