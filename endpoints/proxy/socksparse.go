package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/bondd/bondd/endpoints/dial"
)

// RFC 1928.
const (
	socksVersion = 5

	methodNone         = 0x00 // no authentication
	methodUnacceptable = 0xff

	commandConnect   = 1
	commandAssociate = 3

	addressIPv4 = 1
	addressName = 3
	addressIPv6 = 4

	replySucceeded      = 0
	replyFailed         = 1
	replyNotAllowed     = 2
	replyHostUnreach    = 4
	replyRefused        = 5
	replyTTLExpired     = 6
	replyNoCommand      = 7
	replyNoAddressType  = 8
	socksDatagramHeader = 4 + 1 + 255 + 2 // the longest there is
)

// socksError is a request that is wrong, with the reply that says so.
type socksError struct {
	reply byte
	why   string
}

func (e *socksError) Error() string { return "socks: " + e.why }

// readGreeting reads the methods that a client offers (RFC 1928 3) and tells
// whether one of them is none at all.
func readGreeting(r io.Reader) (ok bool, err error) {
	var b [2 + 255]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return false, err
	}
	if b[0] != socksVersion {
		return false, fmt.Errorf("socks: version %d: only version 5 is spoken here", b[0])
	}
	methods := b[2 : 2+int(b[1])]
	if _, err := io.ReadFull(r, methods); err != nil {
		return false, err
	}
	for _, m := range methods {
		ok = ok || m == methodNone
	}
	return ok, nil
}

// readRequest reads a request (RFC 1928 4), not a byte more. A *socksError is to be answered.
func readRequest(r io.Reader) (command byte, t Target, err error) {
	var b [4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, t, err
	}
	if b[0] != socksVersion || b[2] != 0 {
		return 0, t, &socksError{replyFailed, fmt.Sprintf("a request begins with 5, the command and 0, not with %d %d %d", b[0], b[1], b[2])}
	}
	size, err := addressSize(b[3], func() (byte, error) {
		var n [1]byte
		_, err := io.ReadFull(r, n[:])
		return n[0], err
	})
	if err != nil {
		return 0, t, err
	}
	rest := make([]byte, size+2)
	if _, err := io.ReadFull(r, rest); err != nil {
		return 0, t, err
	}
	t, err = parseAddress(b[3], rest[:size], rest[size:])
	if err == nil && b[1] != commandConnect && b[1] != commandAssociate {
		err = &socksError{replyNoCommand, fmt.Sprintf("command %d is none that is known here", b[1])}
	}
	return b[1], t, err
}

// addressSize is the number of bytes of an address; length reads the one that
// is before a name.
func addressSize(kind byte, length func() (byte, error)) (int, error) {
	switch kind {
	case addressIPv4:
		return 4, nil
	case addressIPv6:
		return 16, nil
	case addressName:
		n, err := length()
		return int(n), err
	}
	return 0, &socksError{replyNoAddressType, fmt.Sprintf("addresses of type %d are not known here", kind)}
}

// parseAddress makes a target of what addressSize has measured. Some clients
// send an address in the form of a name.
func parseAddress(kind byte, address, port []byte) (Target, error) {
	t := Target{Port: binary.BigEndian.Uint16(port)}
	if kind != addressName {
		t.Addr, _ = netip.AddrFromSlice(address)
		t.Addr = t.Addr.Unmap()
		return t, nil
	}
	name := string(address)
	if a, err := netip.ParseAddr(name); err == nil && a.Zone() == "" {
		t.Addr = a.Unmap()
		return t, nil
	}
	if err := dial.CheckName(name); err != nil {
		return t, &socksError{replyHostUnreach, err.Error()}
	}
	t.Host = name
	return t, nil
}

// appendAddress writes type, address and port; a target without either is 0.0.0.0.
func appendAddress(b []byte, t Target) []byte {
	a := t.Addr.Unmap().WithZone("")
	switch {
	case a.Is6():
		b = append(b, addressIPv6)
		b = append(b, a.AsSlice()...)
	case a.Is4():
		b = append(b, addressIPv4)
		b = append(b, a.AsSlice()...)
	case t.Host != "":
		name := t.Host[:min(len(t.Host), 255)]
		b = append(b, addressName, byte(len(name)))
		b = append(b, name...)
	default:
		b = append(b, addressIPv4, 0, 0, 0, 0)
	}
	return binary.BigEndian.AppendUint16(b, t.Port)
}

// socksReply is a reply with the address that the connection has at this side.
func socksReply(code byte, bound Target) []byte {
	return appendAddress([]byte{socksVersion, code, 0}, bound)
}

var (
	errShort    = errors.New("socks: the datagram is too short for its header")
	errFragment = errors.New("socks: fragments are not put together here")
)

// parseDatagram takes the header off (RFC 1928 7). The payload shares b.
func parseDatagram(b []byte) (t Target, payload []byte, err error) {
	if len(b) < 4 || b[0] != 0 || b[1] != 0 {
		return t, nil, errShort
	}
	if b[2] != 0 {
		return t, nil, errFragment
	}
	kind, b := b[3], b[4:]
	size, err := addressSize(kind, func() (byte, error) {
		if len(b) == 0 {
			return 0, errShort
		}
		n := b[0]
		b = b[1:]
		return n, nil
	})
	if err != nil {
		return t, nil, err
	}
	if len(b) < size+2 {
		return t, nil, errShort
	}
	t, err = parseAddress(kind, b[:size], b[size:size+2])
	return t, b[size+2:], err
}

// appendDatagramHeader writes what is before a payload from t.
func appendDatagramHeader(b []byte, t Target) []byte {
	return appendAddress(append(b, 0, 0, 0), t)
}
