package control

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"unicode"

	"github.com/bondd/bondd/tunnel/wire"
)

// Version is the version of the protocol spoken here: of the hello, the
// datagrams and the frames together.
const Version = 1

// Bounds of a message. Its sender is known by the time it is read, but may be
// broken, and what it says ends up in logs.
const (
	// MaxMessage is the largest Offer or Answer in bytes.
	MaxMessage = 64 << 10

	maxItems    = 64  // in a list
	maxText     = 100 // characters of a name
	maxSentence = 400 // characters of Answer.Error
)

// Offer is what a gateway says first.
type Offer struct {
	Version        int      `json:"version"`  // the newest it speaks
	Versions       []int    `json:"versions"` // all it speaks
	Software       string   `json:"software"` // for reports only
	Index          uint32   `json:"index"`    // of the datagrams to the gateway, 1..wire.MaxIndex
	Suites         []string `json:"suites"`   // names of seal.Suite it can use
	AESAccelerated bool     `json:"aes_accelerated"`
	Capabilities   []string `json:"capabilities,omitempty"`
	// Present is the exit's index of a session that the gateway still has and would rather keep; 0 for none.
	Present uint32 `json:"present,omitempty"`
}

// Answer is what an exit says then. Either Error says why there will be no
// session, or the other fields describe it.
type Answer struct {
	Version      int            `json:"version"`             // the one to speak
	Software     string         `json:"software"`            // for reports only
	Index        uint32         `json:"index,omitempty"`     // of the datagrams to the exit, 1..wire.MaxIndex
	Suite        string         `json:"suite,omitempty"`     // name of the seal.Suite to use
	Addresses    []netip.Prefix `json:"addresses,omitempty"` // inner addresses of the gateway
	Peer         []netip.Addr   `json:"peer,omitempty"`      // inner addresses of the exit
	Capabilities []string       `json:"capabilities,omitempty"`
	Present      bool           `json:"present,omitempty"` // the exit has the session of Offer.Present too, and made no new one
	Error        string         `json:"error,omitempty"`   // a sentence for the user
	Refusal      string         `json:"refusal,omitempty"` // with Error: "version", "suite", "key", or nothing
}

// writeMessage sends v behind its length, in one call of Write.
func writeMessage(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(body) > MaxMessage {
		return fmt.Errorf("%w: %d bytes to send, at most %d are allowed", ErrMessage, len(body), MaxMessage)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

// readMessage receives what writeMessage sent. It takes memory only for a
// length that is allowed.
func readMessage(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > MaxMessage {
		return nil, fmt.Errorf("%w: it is %d bytes long, at most %d are allowed", ErrMessage, n, MaxMessage)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return body, nil
}

// parseOffer reads an Offer and checks what can be checked by itself.
func parseOffer(body []byte) (Offer, error) {
	var o Offer
	if err := json.Unmarshal(body, &o); err != nil {
		return Offer{}, fmt.Errorf("%w: offer: %s", ErrMessage, sentence(err.Error()))
	}
	if len(o.Versions) == 0 {
		o.Versions = []int{o.Version}
	}
	return o, o.check()
}

func (o *Offer) check() error {
	switch {
	case len(o.Versions) > maxItems:
		return fmt.Errorf("%w: offer: %d versions", ErrMessage, len(o.Versions))
	case o.Index == 0 || o.Index > wire.MaxIndex:
		return fmt.Errorf("%w: offer: index %d is out of range", ErrMessage, o.Index)
	case o.Present > wire.MaxIndex:
		return fmt.Errorf("%w: offer: present session %d is out of range", ErrMessage, o.Present)
	case !isName(o.Software):
		return fmt.Errorf("%w: offer: software is not a name", ErrMessage)
	}
	if err := checkNames("suites", o.Suites); err != nil {
		return fmt.Errorf("%w: offer: %w", ErrMessage, err)
	}
	if err := checkNames("capabilities", o.Capabilities); err != nil {
		return fmt.Errorf("%w: offer: %w", ErrMessage, err)
	}
	return nil
}

// parseAnswer reads an Answer and checks what can be checked by itself. When
// Error is set the rest is not looked at.
func parseAnswer(body []byte) (Answer, error) {
	var a Answer
	if err := json.Unmarshal(body, &a); err != nil {
		return Answer{}, fmt.Errorf("%w: answer: %s", ErrMessage, sentence(err.Error()))
	}
	if a.Error != "" {
		if !isName(a.Refusal) {
			a.Refusal = ""
		}
		return Answer{Version: a.Version, Error: sentence(a.Error), Refusal: a.Refusal}, nil
	}
	return a, a.check()
}

func (a *Answer) check() error {
	switch {
	case a.Index == 0 || a.Index > wire.MaxIndex:
		return fmt.Errorf("%w: answer: index %d is out of range", ErrMessage, a.Index)
	case !isName(a.Software):
		return fmt.Errorf("%w: answer: software is not a name", ErrMessage)
	case len(a.Addresses) > maxItems || len(a.Peer) > maxItems:
		return fmt.Errorf("%w: answer: too many addresses", ErrMessage)
	}
	for _, p := range a.Addresses {
		if !p.IsValid() || !isHost(p.Addr()) {
			return fmt.Errorf("%w: answer: %v is not the address of a host", ErrMessage, p)
		}
	}
	for _, ip := range a.Peer {
		if !isHost(ip) {
			return fmt.Errorf("%w: answer: %v is not the address of a host", ErrMessage, ip)
		}
	}
	if err := checkNames("capabilities", a.Capabilities); err != nil {
		return fmt.Errorf("%w: answer: %w", ErrMessage, err)
	}
	return nil
}

// isHost reports whether ip can be the inner address of a node.
func isHost(ip netip.Addr) bool {
	return ip.IsValid() && !ip.Is4In6() && ip.Zone() == "" &&
		!ip.IsUnspecified() && !ip.IsMulticast() && !ip.IsLoopback()
}

func checkNames(what string, names []string) error {
	if len(names) > maxItems {
		return fmt.Errorf("%d %s", len(names), what)
	}
	for _, n := range names {
		if !isName(n) {
			return fmt.Errorf("one of the %s is not a name", what)
		}
	}
	return nil
}

// isName reports whether s is short and printable. The empty text is a name.
func isName(s string) bool {
	return len(s) <= maxText && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// sentence makes s fit to be shown: printable and not too long.
func sentence(s string) string {
	var out strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > maxSentence {
			break
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		out.WriteRune(r)
	}
	return out.String()
}
