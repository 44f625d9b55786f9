package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
)

// ErrSilent says that nothing answered.
var ErrSilent = errors.New("no answer")

// Control makes a socket leave by an uplink; it has the type of net.ListenConfig.Control.
type Control func(network, address string, c syscall.RawConn) error

// Ask asks target, which is an address or an address and port, and returns nil when it answers and ErrSilent when it does not before ctx
// ends. Other errors say that the question could not be asked.
func Ask(ctx context.Context, target string, by Control) error {
	if a, err := netip.ParseAddr(target); err == nil {
		return Echo(ctx, a, by)
	}
	return connect(ctx, target, by)
}

func connect(ctx context.Context, target string, by Control) error {
	d := net.Dialer{Control: by, KeepAlive: -1}
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, "tcp", target)
	switch {
	case err == nil:
		c.Close()
		return nil
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return nil
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return err
	}
	return ErrSilent
}

// Types of ICMP and ICMPv6.
const (
	echo4, reply4 = 8, 0
	echo6, reply6 = 128, 129
)

// Echo sends one ICMP echo and waits for the reply.
func Echo(ctx context.Context, to netip.Addr, by Control) error {
	network, request, reply := "ip4:icmp", byte(echo4), byte(reply4)
	if to.Is6() {
		network, request, reply = "ip6:ipv6-icmp", echo6, reply6
	}
	conn, err := (&net.ListenConfig{Control: by}).ListenPacket(ctx, network, "")
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	id := uint16(rand.Uint32())
	if _, err := conn.WriteTo(message(request, id, to.Is4()), &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}); err != nil {
		if ctx.Err() != nil || unreachable(err) {
			return ErrSilent
		}
		return err
	}
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return ErrSilent // the socket is closed when ctx ends; an ICMP error says the same
		}
		ip, ok := from.(*net.IPAddr)
		if !ok {
			continue
		}
		if a, ok := netip.AddrFromSlice(ip.IP); ok && a.Unmap() == to.Unmap().WithZone("") && isReply(buf[:n], reply, id) {
			return nil
		}
	}
}

func unreachable(err error) bool {
	for _, e := range []syscall.Errno{syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// message is an echo with an identifier and nothing in it. The kernel does the checksum of ICMPv6.
func message(kind byte, id uint16, sum bool) []byte {
	m := []byte{kind, 0, 0, 0, byte(id >> 8), byte(id), 0, 1}
	if sum {
		total := uint32(kind)<<8 + uint32(id) + 1
		total = total&0xffff + total>>16
		binary.BigEndian.PutUint16(m[2:], ^uint16(total+total>>16))
	}
	return m
}

// isReply tells whether m answers the echo with that identifier. The standard library takes the header of IPv4 away.
func isReply(m []byte, kind byte, id uint16) bool {
	return len(m) >= 8 && m[0] == kind && m[1] == 0 && binary.BigEndian.Uint16(m[4:]) == id && binary.BigEndian.Uint16(m[6:]) == 1
}
