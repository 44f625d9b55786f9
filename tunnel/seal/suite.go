package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// Suite names the AEAD of a session.
type Suite uint8

// The suites. The zero value is none of them.
const (
	// SuiteAES128GCM is the faster one where the CPU has AES instructions.
	SuiteAES128GCM Suite = 1
	// SuiteChaCha20Poly1305 is fast everywhere, and does not leak its key
	// through the timing of table look-ups on CPUs without AES instructions.
	SuiteChaCha20Poly1305 Suite = 2
)

const (
	// Overhead is how many bytes longer ciphertext is than plaintext.
	Overhead = 16

	nonceLen  = 12
	secretLen = 32
)

// String returns the name of the suite in the hello and in reports.
func (s Suite) String() string {
	switch s {
	case SuiteAES128GCM:
		return "aes-128-gcm"
	case SuiteChaCha20Poly1305:
		return "chacha20-poly1305"
	}
	return "no suite"
}

// ParseSuite returns the suite that String gave the name of, or an error.
func ParseSuite(name string) (Suite, error) {
	for _, s := range []Suite{SuiteAES128GCM, SuiteChaCha20Poly1305} {
		if name == s.String() {
			return s, nil
		}
	}
	return 0, fmt.Errorf("unknown cipher suite %q", name)
}

// errSuite is returned by the constructors for a Suite that is not one of the
// constants.
var errSuite = errors.New("seal: unknown cipher suite")

// keyLen returns the length of a key of the suite in bytes, or 0 for none.
func (s Suite) keyLen() int {
	switch s {
	case SuiteAES128GCM:
		return 16
	case SuiteChaCha20Poly1305:
		return chacha20poly1305.KeySize
	}
	return 0
}

// newAEAD makes the cipher of the suite.
func (s Suite) newAEAD(key []byte) (cipher.AEAD, error) {
	switch s {
	case SuiteAES128GCM:
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("make %v cipher: %w", s, err)
		}
		return cipher.NewGCM(block)
	case SuiteChaCha20Poly1305:
		return chacha20poly1305.New(key)
	}
	return nil, errSuite
}

// keys are what one epoch seals and opens with.
type keys struct {
	aead cipher.AEAD
	iv   [nonceLen]byte
}

// newKeys derives the keys of the epoch with the given secret.
func newKeys(suite Suite, secret *[secretLen]byte) (*keys, error) {
	if suite.keyLen() == 0 {
		return nil, errSuite
	}
	key, err := expand(secret, "bondd key", suite.keyLen())
	if err != nil {
		return nil, err
	}
	iv, err := expand(secret, "bondd iv", nonceLen)
	if err != nil {
		return nil, err
	}
	k := new(keys)
	copy(k.iv[:], iv)
	k.aead, err = suite.newAEAD(key)
	clear(key)
	return k, err
}

// ratchet replaces a secret by that of the next epoch.
func ratchet(secret *[secretLen]byte) error {
	next, err := expand(secret, "bondd next", secretLen)
	if err != nil {
		return err
	}
	copy(secret[:], next)
	clear(next)
	return nil
}

func expand(secret *[secretLen]byte, label string, n int) ([]byte, error) {
	out, err := hkdf.Expand(sha256.New, secret[:], label, n)
	if err != nil {
		return nil, fmt.Errorf("derive keys: %w", err)
	}
	return out, nil
}

// putNonce writes the nonce of a datagram to n.
func (k *keys) putNonce(n *[nonceLen]byte, path uint8, pn uint64) {
	*n = k.iv
	n[3] ^= path
	binary.BigEndian.PutUint64(n[4:], binary.BigEndian.Uint64(n[4:])^pn)
}
