package lab

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// asking is a connection, or a datagram, to a server of testWhom, which answers with the address it sees.
type asking struct {
	Network string     // "tcp" or "udp"
	From    netip.Addr // zero: as the host likes
	To      netip.AddrPort
	Mark    int // that the socket has; 0: none
}

// The ends of a question beside an address. A datagram that is refused and one that is lost look the same to the one who sent it.
const (
	askRefused = "refused"
	askSilence = "silence"
)

// askTime bounds one question.
const askTime = 2 * time.Second

// testAsk asks one after the other, and returns the answers.
func testAsk(_ context.Context, questions []asking) ([]string, error) {
	var out []string
	for _, q := range questions {
		out = append(out, q.ask())
	}
	return out, nil
}

func (q asking) ask() string {
	d := net.Dialer{Timeout: askTime, Control: func(_, _ string, c syscall.RawConn) (err error) {
		c.Control(func(fd uintptr) {
			if q.Mark != 0 {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, q.Mark)
			}
		})
		return err
	}}
	if q.From.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(q.From, 0))
		if q.Network == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(q.From, 0))
		}
	}
	failed := func(err error) string {
		if q.Network == "tcp" && errors.Is(err, os.ErrDeadlineExceeded) {
			return askSilence
		}
		return askRefused
	}
	c, err := d.Dial(q.Network, q.To.String())
	if err != nil {
		return failed(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(askTime))
	if q.Network == "udp" {
		c.Write([]byte("whom?")) // an error is heard by the read
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil {
		return failed(err)
	}
	return string(b[:n])
}

// testWhom answers at these addresses, TCP and UDP, until the host ends.
func testWhom(_ context.Context, at []netip.AddrPort) (struct{}, error) {
	for _, a := range at {
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(a))
		if err != nil {
			return struct{}{}, err
		}
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a))
		if err != nil {
			return struct{}{}, err
		}
		go func() { // ends with the process
			b := make([]byte, 100)
			for {
				_, from, err := u.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				u.WriteToUDPAddrPort([]byte(from.Addr().Unmap().String()), from)
			}
		}()
		go func() { // ends with the process
			for {
				c, err := l.AcceptTCP()
				if err != nil {
					return
				}
				c.Write([]byte(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().String()))
				c.Close()
			}
		}()
	}
	return struct{}{}, nil
}

// who reads "tcp 192.168.77.2 198.18.1.2:80": network, source and target of a question; a source of "-" is as the host likes.
func who(s string) asking {
	f := strings.Fields(s)
	q := asking{Network: f[0], To: netip.MustParseAddrPort(f[2])}
	if f[1] != "-" {
		q.From = netip.MustParseAddr(f[1])
	}
	return q
}
