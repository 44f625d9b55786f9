package endpoints

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/dial"
)

// An exit with bench = true lets its gateways measure the bond without anybody else: on its own inner address, to which nothing leads but the
// bond, it sends and swallows bytes. A client says in one line what it wants:
//
//	down SECONDS   bytes for so long, then the end
//	up SECONDS     swallows what comes until its end, or for so long; then answers "BYTES MILLISECONDS", from the first to the last
const (
	// BenchPort is the port of the target, next to 7117 and 7118 of the hello and the interception.
	BenchPort = 7119
	// BenchTime bounds what one connection may ask for.
	BenchTime = time.Minute

	benchFlows = 16               // at a time, of all gateways: a measurement has one, or a few
	benchChunk = 64 << 10         // bytes per read and write
	benchGrace = 10 * time.Second // beyond what was asked for: what stands in buffers and queues
	benchLine  = 64               // bytes of the line at most
)

// benchTarget serves on the inner address.
type benchTarget struct {
	inner netip.Prefix // the exit's address, and who may ask
	ln    net.Listener
	wg    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu
	over  bool                  // guarded by mu
}

// benchAddr is where the exit serves; invalid if it does not. IPv4 where there is a choice.
func benchAddr(cfg *config.Config) netip.AddrPort {
	if list := cfg.Inner.Exit(); cfg.Stream.Bench && len(list) > 0 {
		return netip.AddrPortFrom(list[0].Addr(), BenchPort)
	}
	return netip.AddrPort{}
}

// benchOf is where an exit with these capabilities serves; invalid if it does not.
func benchOf(capabilities []string) netip.AddrPort {
	for _, c := range capabilities {
		if text, ok := strings.CutPrefix(c, capBench); ok {
			at, _ := netip.ParseAddrPort(text) // what cannot be read is not served
			return at
		}
	}
	return netip.AddrPort{}
}

// openBench serves, if the configuration says so. An exit works without it, so that it cannot be served is only said.
func (x *exit) openBench() phase {
	return phase{"bench target",
		func(ctx context.Context) error {
			at := benchAddr(x.cfg)
			if !at.IsValid() {
				return nil
			}
			ln, err := x.host.listenTCP(ctx, at)
			if err != nil {
				x.log.Warn("\"bondd bench live\" will not work for the gateways", "error", err)
				return nil
			}
			x.streams.bench = serveBench(ln, x.cfg.Inner.Exit()[0])
			return nil
		},
		func(context.Context) error {
			if x.streams.bench != nil {
				x.streams.bench.close()
			}
			return nil
		},
	}
}

// serveBench takes ln and serves on it until close.
func serveBench(ln net.Listener, inner netip.Prefix) *benchTarget {
	b := &benchTarget{inner: inner.Masked(), ln: ln, conns: map[net.Conn]struct{}{}}
	b.wg.Go(func() { // joined by close
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			from, err := netip.ParseAddrPort(c.RemoteAddr().String())
			if err != nil || !b.inner.Contains(from.Addr().Unmap()) || !b.keep(c) {
				c.Close()
				continue
			}
			b.serve(c)
		}
	})
	return b
}

// serve serves a connection that is kept.
func (b *benchTarget) serve(c net.Conn) {
	b.wg.Go(func() { // bounded by its deadline, joined by close
		defer b.drop(c)
		_ = serveBenchFlow(c, time.Now) // the client sees what became of it
	})
}

// pair is a connection to the target from inside the exit. It goes over loopback: from inner address to inner address the exit's own
// masquerade would get hold of it.
func (b *benchTarget) pair(ctx context.Context) (*net.TCPConn, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	near, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	if err != nil {
		return nil, err
	}
	for {
		far, err := ln.Accept()
		if err == nil && far.RemoteAddr().String() != near.LocalAddr().String() {
			far.Close() // somebody else was quicker
			continue
		}
		if err == nil && !b.keep(far) {
			far.Close()
			err = fmt.Errorf("%d measurements are under way", benchFlows)
		}
		if err != nil {
			near.Close()
			return nil, err
		}
		b.serve(far)
		return near.(*net.TCPConn), nil
	}
}

// keep takes a connection, if there is room.
func (b *benchTarget) keep(c net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over || len(b.conns) == benchFlows {
		return false
	}
	b.conns[c] = struct{}{}
	return true
}

func (b *benchTarget) drop(c net.Conn) {
	c.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
}

func (b *benchTarget) close() {
	b.ln.Close()
	b.mu.Lock()
	b.over = true
	for c := range b.conns {
		c.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()
}

// serveBenchFlow does what one connection asks for.
func serveBenchFlow(c net.Conn, now func() time.Time) error {
	if err := c.SetDeadline(now().Add(benchGrace)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(c, benchLine)
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	direction, seconds, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	n, err := strconv.Atoi(seconds)
	if err != nil || n < 1 || n > int(BenchTime/time.Second) {
		return fmt.Errorf("%q is not what a measurement asks for", line)
	}
	end := now().Add(time.Duration(n) * time.Second)
	if err := c.SetDeadline(end.Add(benchGrace)); err != nil {
		return err
	}
	buf := make([]byte, benchChunk)
	switch direction {
	case "down":
		for now().Before(end) {
			if _, err := c.Write(buf); err != nil {
				return err
			}
		}
		return nil
	case "up":
		var total int64
		var first, last time.Time
		for {
			k, err := r.Read(buf)
			if k > 0 {
				if last = now(); total == 0 {
					first = last
				}
				total += int64(k)
			}
			if err == io.EOF || err == nil && now().After(end.Add(benchGrace/2)) {
				break
			}
			if err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(c, "%d %d\n", total, last.Sub(first).Milliseconds())
		return err
	}
	return fmt.Errorf("%q is not what a measurement asks for", line)
}

// benchDialer lets a stream reach the bench target, which as an inner address is closed to streams, and leaves the rest to the gateway's
// own dialer.
type benchDialer struct {
	targetDialer
	at netip.AddrPort
	x  *exitStreams
}

func (d benchDialer) DialTarget(ctx context.Context, t dial.Target) (dial.Conn, error) {
	if t.Host != "" || netip.AddrPortFrom(t.Addr.Unmap(), t.Port) != d.at || d.x.bench == nil {
		return d.targetDialer.DialTarget(ctx, t)
	}
	c, err := d.x.bench.pair(ctx)
	if err != nil {
		return nil, &dial.Error{Code: dial.Busy, Target: t.String(), Reason: err.Error()}
	}
	return c, nil
}
