package dial

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Target is a destination: a name or an address, and a port. A name is passed
// on as it is, to be looked up where the connection starts.
type Target struct {
	Host string     // name, if Addr is not valid
	Addr netip.Addr // address; counts before Host
	Port uint16
}

// String is host:port, with brackets around an IPv6 address.
func (t Target) String() string {
	host := t.Host
	if t.Addr.IsValid() {
		host = t.Addr.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(t.Port)))
}

// TargetOf is the target of an address.
func TargetOf(ap netip.AddrPort) Target { return Target{Addr: ap.Addr().Unmap(), Port: ap.Port()} }

// Conn is a stream that can be ended in one direction. Conns that know how to
// tell the other side of an abort have SetLinger(int) error, like
// *net.TCPConn, or Reset() error.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// PacketConn exchanges datagrams with any target. Its methods may be called
// from several goroutines.
type PacketConn interface {
	// ReadFrom blocks for one datagram; what does not fit into p is lost.
	ReadFrom(p []byte) (n int, from Target, err error)
	// WriteTo sends one datagram or drops it; it does not wait for a name to be
	// looked up. It does not keep p. An *Error where the target may not be reached.
	WriteTo(p []byte, to Target) (n int, err error)
	SetReadDeadline(t time.Time) error
	// Close unblocks ReadFrom.
	Close() error
}

const maxName = 253 // RFC 1035 2.3.4, as text without the final dot

// CheckName tells whether a name can be looked up at all: labels of letters,
// digits, hyphens and underscores (RFC 1123 2.1; the underscore is common in DNS),
// not the last one of digits alone, since that would be an IPv4 address in an odd
// form ("127.1", "2130706433") that some resolvers take for one.
func CheckName(name string) error {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > maxName {
		return fmt.Errorf("a name has 1 to %d letters, this one has %d", maxName, len(name))
	}
	label := ""
	for label = range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("%.100q is not a name: between its dots are 1 to 63 letters", name)
		}
		for _, c := range []byte(label) {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
				return fmt.Errorf("%.100q is not a name: it has more than letters, digits and hyphens (an international name must be written in its xn-- form)", name)
			}
		}
	}
	if isNumber(label) {
		return fmt.Errorf("%.100q is neither a name nor an address", name)
	}
	return nil
}

// isNumber tells whether some would take the label for a number: digits, or 0x
// and hexadecimal digits.
func isNumber(label string) bool {
	hex := strings.TrimPrefix(strings.ToLower(label), "0x")
	if len(hex) < len(label) {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// normal checks a target and turns a literal in Host into Addr.
func (t Target) normal() (Target, error) {
	if t.Port == 0 {
		return t, errors.New("there is no port 0: give the port of the service")
	}
	if !t.Addr.IsValid() {
		if a, err := netip.ParseAddr(t.Host); err == nil {
			t.Addr = a
		} else {
			t.Host = strings.TrimSuffix(t.Host, ".")
			return t, CheckName(t.Host)
		}
	}
	t.Addr = t.Addr.Unmap()
	t.Host = ""
	return t, nil
}
