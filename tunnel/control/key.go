package control

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
)

const (
	keyLen     = 32
	keyTextLen = 44 // base64 of 32 bytes, padded
)

// PrivateKey is the seed of an Ed25519 key (RFC 8032): all that a node has to
// keep to itself. It shows its content through String only; package fmt, slog
// and JSON get a placeholder, so that it does not slip into a log.
type PrivateKey [keyLen]byte

// PublicKey is an Ed25519 public key: the name of a node.
type PublicKey [keyLen]byte

// Generate makes a new private key.
func Generate() (PrivateKey, error) {
	var k PrivateKey
	if _, err := rand.Read(k[:]); err != nil {
		return PrivateKey{}, fmt.Errorf("read random bytes: %w", err)
	}
	return k, nil
}

// ParsePrivateKey reads a private key from its text: 44 characters of base64
// with nothing around them. The error does not contain the text.
func ParsePrivateKey(s string) (PrivateKey, error) {
	b, err := parseKey("private key", s)
	return PrivateKey(b), err
}

// ParsePublicKey reads a public key from its text: 44 characters of base64 with
// nothing around them.
func ParsePublicKey(s string) (PublicKey, error) {
	b, err := parseKey("public key", s)
	return PublicKey(b), err
}

func parseKey(what, s string) (key [keyLen]byte, err error) {
	if len(s) != keyTextLen {
		return key, fmt.Errorf("%s has %d characters, want %d characters of base64 as `bondd genkey` and `bondd pubkey` print them", what, len(s), keyTextLen)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != keyLen {
		return key, fmt.Errorf("%s is not base64 of %d bytes; copy it whole, with the = at the end", what, keyLen)
	}
	return [keyLen]byte(b), nil
}

// Public returns the public key that belongs to k.
func (k PrivateKey) Public() PublicKey {
	return PublicKey(k.signer().Public().(ed25519.PublicKey))
}

// signer returns k in the form the standard library signs with.
func (k PrivateKey) signer() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(k[:]) }

// String returns the text of the key, the secret itself.
func (k PrivateKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

const hiddenKey = "(private key)"

// Format implements fmt.Formatter: it writes a placeholder for every verb.
func (k PrivateKey) Format(f fmt.State, verb rune) { _, _ = io.WriteString(f, hiddenKey) }

// LogValue implements slog.LogValuer: it returns a placeholder.
func (k PrivateKey) LogValue() slog.Value { return slog.StringValue(hiddenKey) }

// MarshalText implements encoding.TextMarshaler: it returns a placeholder.
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(hiddenKey), nil }

// String returns the text of the key.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// MarshalText implements encoding.TextMarshaler.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *PublicKey) UnmarshalText(text []byte) (err error) {
	*k, err = ParsePublicKey(string(text))
	return err
}
