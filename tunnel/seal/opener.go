package seal

import (
	"errors"
	"time"
)

// PreviousKept is how long datagrams of the previous epoch are still opened
// after the first one of the current epoch. It is far longer than two paths
// differ, queues included, and short against MaxAge.
const PreviousKept = 10 * time.Second

// Reasons for which a datagram is not opened. They carry no detail: whoever
// drops the datagram counts them.
var (
	// ErrForged says that the datagram was not sealed by the peer, or has been
	// changed on its way.
	ErrForged = errors.New("seal: datagram is not authentic")
	// ErrEpoch says that there is no key for the epoch the datagram names, or
	// no longer.
	ErrEpoch = errors.New("seal: no key for the epoch of the datagram")
)

// Opener opens the datagrams of one direction of a session.
type Opener struct {
	suite  Suite
	secret [secretLen]byte // of the next epoch
	epoch  uint64

	previous      *keys // nil: none, or run out
	previousUntil time.Duration
	current       *keys
	next          *keys // ready before it is needed, so that forged datagrams cost no derivation

	nonce [nonceLen]byte // of the current call; here because it must not be on the stack
}

// NewOpener returns an Opener in epoch 0. The only error is an unknown suite.
func NewOpener(suite Suite, secret [32]byte) (*Opener, error) {
	o := &Opener{suite: suite, secret: secret}
	var err error
	if o.current, err = newKeys(suite, &o.secret); err != nil {
		return nil, err
	}
	if o.next, err = o.derive(); err != nil {
		return nil, err
	}
	return o, nil
}

// derive moves the secret on by one epoch and returns the keys for it.
func (o *Opener) derive() (*keys, error) {
	if err := ratchet(&o.secret); err != nil {
		return nil, err
	}
	return newKeys(o.suite, &o.secret)
}

// Epoch returns the newest epoch of which a datagram has been opened, 0 at
// first.
func (o *Opener) Epoch() uint64 { return o.epoch }

// Open opens a datagram in place. The first headerLen bytes of dg are its
// header; epochBits, path and pn are what the header says, pn completed. The
// plaintext begins behind the header in dg and is Overhead bytes shorter than
// what was there.
//
// Errors: ErrForged, also for a datagram shorter than header and tag, and
// ErrEpoch. After an error the bytes behind the header are undefined, and the
// Opener is as before.
//
// Open does not look for replays; see Window.
func (o *Opener) Open(now time.Duration, dg []byte, headerLen int, epochBits uint8, path uint8, pn uint64) (plaintext []byte, err error) {
	if o.previous != nil && now >= o.previousUntil {
		o.previous = nil
	}
	if len(dg) < headerLen+Overhead {
		return nil, ErrForged
	}
	var k *keys
	switch (uint64(epochBits) - o.epoch) & 3 {
	case 0:
		k = o.current
	case 1:
		k = o.next
	case 3:
		k = o.previous
	}
	if k == nil {
		return nil, ErrEpoch
	}
	k.putNonce(&o.nonce, path, pn)
	plaintext, err = k.aead.Open(dg[headerLen:headerLen], o.nonce[:], dg[headerLen:], dg[:headerLen])
	if err != nil {
		return nil, ErrForged
	}
	if k == o.next {
		o.commit(now)
	}
	return plaintext, nil
}

// commit makes the next epoch the current one.
func (o *Opener) commit(now time.Duration) {
	o.previous, o.previousUntil = o.current, now+PreviousKept
	o.current = o.next
	o.epoch++
	// Derivation has worked for this suite before; should it fail, the datagrams
	// of the epoch after this one will be refused with ErrEpoch.
	o.next, _ = o.derive()
}
