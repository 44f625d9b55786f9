package seal

import "time"

// When a sender should advance to the next epoch: at whichever comes first,
// and once the peer has acknowledged a datagram of the current epoch.
const (
	// MaxDatagrams is how many datagrams to seal in one epoch. It is half of the
	// confidentiality limit of AES-GCM in RFC 9001, section 6.6 (2^23), so that
	// as many again may follow while the acknowledgement is waited for.
	MaxDatagrams = 1 << 22
	// MaxAge is how long to use one epoch. It bounds what a stolen key opens;
	// the derivation costs microseconds, so the value is a matter of taste.
	MaxAge = 10 * time.Minute
)

// Sealer seals the datagrams of one direction of a session.
type Sealer struct {
	suite  Suite
	secret [secretLen]byte // of the current epoch
	epoch  uint64
	keys   *keys
	nonce  [nonceLen]byte // of the current call; here because it must not be on the stack
}

// NewSealer returns a Sealer in epoch 0. The only error is an unknown suite.
func NewSealer(suite Suite, secret [32]byte) (*Sealer, error) {
	k, err := newKeys(suite, &secret)
	if err != nil {
		return nil, err
	}
	return &Sealer{suite: suite, secret: secret, keys: k}, nil
}

// Epoch returns the current epoch. Its low two bits belong in the header.
func (s *Sealer) Epoch() uint64 { return s.epoch }

// Advance goes on to the next epoch and forgets the keys of the current one.
// After an error the current one stays in use.
func (s *Sealer) Advance() error {
	secret := s.secret
	if err := ratchet(&secret); err != nil {
		return err
	}
	k, err := newKeys(s.suite, &secret)
	if err != nil {
		return err
	}
	s.secret, s.keys = secret, k
	s.epoch++
	return nil
}

// Seal seals a datagram in place. The first headerLen bytes of dg, the header,
// stay as they are and are authenticated; the rest is plaintext and becomes
// ciphertext. The capacity of dg must be at least Overhead bytes more than its
// length, or Seal panics. The result begins where dg begins and is Overhead
// bytes longer.
//
// No two calls in one epoch may have the same path and pn.
func (s *Sealer) Seal(dg []byte, headerLen int, path uint8, pn uint64) []byte {
	if cap(dg)-len(dg) < Overhead {
		panic("seal: internal error: no room for the tag")
	}
	s.keys.putNonce(&s.nonce, path, pn)
	header := dg[:headerLen]
	return s.keys.aead.Seal(header, s.nonce[:], dg[headerLen:], header)
}
