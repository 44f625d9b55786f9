package endpoints

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/bondd/bondd/endpoints/dial"
)

// The target of an OPEN frame:
//
//	kind u8 | flags u8 | port u16, big endian | IPv4 address, IPv6 address or name, to the end
//
// The target of a stream that an exit opens is kind 1 and the port of the exit, without an address: where it leads is the gateway's to say.
//
// No flag has a meaning yet. One that is set could change what is asked for, so a receiver that does not know it refuses.
const (
	targetName byte = 0
	targetPort byte = 1
	targetIPv4 byte = 4
	targetIPv6 byte = 6

	targetHead = 4 // bytes before the address
)

var (
	errTarget      = errors.New("not the target of a stream")
	errTargetFlags = fmt.Errorf("%w: it has flags that are not known here", errTarget)
)

// appendTarget appends the target of a stream. The error says what is wrong with t.
func appendTarget(b []byte, t dial.Target) ([]byte, error) {
	if t.Port == 0 {
		return nil, errors.New("there is no port 0: give the port of the service")
	}
	addr := t.Addr
	if !addr.IsValid() {
		if a, err := netip.ParseAddr(t.Host); err == nil {
			addr = a
		}
	}
	kind := targetName
	var rest []byte
	switch {
	case addr.Zone() != "":
		return nil, fmt.Errorf("%v means something on one network only", addr)
	case addr.IsValid():
		addr = addr.Unmap()
		kind, rest = targetIPv4, addr.AsSlice()
		if addr.Is6() {
			kind = targetIPv6
		}
	default:
		if err := dial.CheckName(t.Host); err != nil {
			return nil, err
		}
		rest = []byte(t.Host)
	}
	b = append(b, kind, 0)
	b = binary.BigEndian.AppendUint16(b, t.Port)
	return append(b, rest...), nil
}

// parseTarget reads what appendTarget wrote, and nothing else.
func parseTarget(b []byte) (dial.Target, error) {
	if len(b) <= targetHead {
		return dial.Target{}, fmt.Errorf("%w: it has %d bytes", errTarget, len(b))
	}
	kind, flags, rest := b[0], b[1], b[targetHead:]
	t := dial.Target{Port: binary.BigEndian.Uint16(b[2:])}
	switch {
	case flags != 0:
		return dial.Target{}, errTargetFlags
	case t.Port == 0:
		return dial.Target{}, fmt.Errorf("%w: it has port 0", errTarget)
	case kind == targetIPv4 && len(rest) == 4, kind == targetIPv6 && len(rest) == 16:
		t.Addr, _ = netip.AddrFromSlice(rest)
		if t.Addr.Is4In6() {
			return dial.Target{}, fmt.Errorf("%w: an IPv4 address is written as IPv6", errTarget)
		}
	case kind == targetName:
		t.Host = string(rest)
		if _, err := netip.ParseAddr(t.Host); err == nil {
			return dial.Target{}, fmt.Errorf("%w: an address is written as a name", errTarget)
		}
		if err := dial.CheckName(t.Host); err != nil {
			return dial.Target{}, fmt.Errorf("%w: %w", errTarget, err)
		}
	default:
		return dial.Target{}, fmt.Errorf("%w: kind %d with %d bytes", errTarget, kind, len(rest))
	}
	return t, nil
}

// appendPort appends the target of a stream for a port that the exit forwards.
func appendPort(b []byte, port uint16) []byte {
	return binary.BigEndian.AppendUint16(append(b, targetPort, 0), port)
}

// parsePort reads what appendPort wrote, and nothing else.
func parsePort(b []byte) (uint16, error) {
	if len(b) != targetHead || b[0] != targetPort || b[1] != 0 {
		return 0, fmt.Errorf("%w: not a port of the exit", errTarget)
	}
	return binary.BigEndian.Uint16(b[2:]), nil
}
