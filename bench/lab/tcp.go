package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// DefaultCongestion is the congestion control of the measured TCP flows: what
// nearly every host on a LAN or behind it uses.
const DefaultCongestion = "cubic"

// TCPSpec asks for bulk transfers over kernel TCP.
type TCPSpec struct {
	Source     netip.Addr    `json:"source"` // zero: the host's choice
	Server     netip.Addr    `json:"server"`
	Up         bool          `json:"up"` // towards the server
	Flows      int           `json:"flows"`
	Duration   time.Duration `json:"duration"`
	Congestion string        `json:"congestion"` // "" means DefaultCongestion
	Multipath  bool          `json:"multipath"`  // by the kernel's MPTCP
}

// FlowResult is what became of one TCP connection.
type FlowResult struct {
	Bytes   int64         `json:"bytes"`           // payload that arrived (down) or was accepted for sending (up)
	Connect time.Duration `json:"connect"`         // until the connection stood
	Error   string        `json:"error,omitempty"` // why it ended before its time
}

// TCPResult is a transfer as its receiver saw it.
type TCPResult struct {
	Series
	Flows []FlowResult `json:"flows"`
}

// Err is the first flow that ended early.
func (r TCPResult) Err() error {
	for i, f := range r.Flows {
		if f.Error != "" {
			return fmt.Errorf("TCP flow %d: %s", i+1, f.Error)
		}
	}
	return nil
}

// tcpArgs is a spec with the number under which the server files its part.
type tcpArgs struct {
	TCPSpec
	Run uint64 `json:"run"`
}

// tcpHello is the first line a client sends.
type tcpHello struct {
	Run        uint64        `json:"run"`
	Flow       int           `json:"flow"`
	Up         bool          `json:"up"`
	Origin     time.Duration `json:"origin"`
	Congestion string        `json:"congestion"`
	Bytes      int64         `json:"bytes,omitempty"` // of the answer; 0: a bulk transfer
}

const tcpChunk = 256 << 10 // bytes per read or write: few system calls, still far below Bin at any rate of the lab

// tcpRun makes the connections and moves bytes until the duration is over.
func (t *traffic) tcpRun(ctx context.Context, a tcpArgs) (TCPResult, error) {
	if a.Congestion == "" {
		a.Congestion = DefaultCongestion
	}
	origin := Now()
	end := time.Now().Add(a.Duration)
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	res := TCPResult{Series: Series{Origin: origin}, Flows: make([]FlowResult, a.Flows)}
	series := make([]Series, a.Flows)
	var wg sync.WaitGroup
	for i := range a.Flows {
		wg.Go(func() {
			f, s := &res.Flows[i], &series[i]
			s.Origin = origin
			conn, err := a.dial(ctx)
			if err != nil {
				f.Error = err.Error()
				return
			}
			defer conn.Close()
			conn.SetLinger(0) // what is still under way does not matter to anyone
			f.Connect = Now() - origin
			hello, err := json.Marshal(tcpHello{Run: a.Run, Flow: i, Up: a.Up, Origin: origin, Congestion: a.Congestion})
			if err == nil {
				conn.SetDeadline(end)
				_, err = conn.Write(append(hello, '\n'))
			}
			if err == nil && a.Up {
				f.Bytes, err = pour(conn)
			} else if err == nil {
				f.Bytes, err = drain(conn, s)
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				f.Error = fmt.Sprintf("ended %.1f s early: %v", time.Until(end).Seconds(), err)
			}
		})
	}
	wg.Wait()
	for _, s := range series {
		res.Merge(s)
	}
	return res, nil
}

func (a tcpArgs) dial(ctx context.Context) (*net.TCPConn, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { return setCongestion(c, a.Congestion) }}
	d.SetMultipathTCP(a.Multipath)
	if a.Source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(a.Source, 0))
	}
	conn, err := d.DialContext(ctx, "tcp", target(a.Server).String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// pour writes until it fails, and returns what was taken.
func pour(conn io.Writer) (int64, error) {
	buf := make([]byte, tcpChunk)
	var total int64
	for {
		n, err := conn.Write(buf)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// drain reads until it fails and notes what arrives in s.
func drain(r io.Reader, s *Series) (int64, error) {
	buf := make([]byte, tcpChunk)
	var total int64
	for {
		n, err := r.Read(buf)
		if n > 0 {
			s.Add(Now(), n)
			total += int64(n)
		}
		if err != nil {
			return total, err
		}
	}
}

// serveTCP accepts for as long as the process lives.
func (t *traffic) serveTCP(ln *net.TCPListener) {
	for {
		conn, err := ln.AcceptTCP()
		if err != nil {
			return
		}
		go t.serveFlow(conn) // ends when the client closes or disappears
	}
}

func (t *traffic) serveFlow(conn *net.TCPConn) {
	defer conn.Close()
	// A client that has gone silently: the runs are shorter than this.
	conn.SetDeadline(time.Now().Add(30 * time.Minute))
	r := bufio.NewReaderSize(conn, 4096)
	line, err := r.ReadBytes('\n')
	var hello tcpHello
	if err != nil || json.Unmarshal(line, &hello) != nil {
		return
	}
	raw, err := conn.SyscallConn()
	if err != nil || setCongestion(raw, hello.Congestion) != nil {
		return
	}
	if hello.Bytes > 0 {
		answer(conn, hello.Bytes)
		return
	}
	run := t.run(hello.Run)
	run.join(conn)
	defer run.busy.Done()
	s := Series{Origin: hello.Origin}
	var n int64
	if hello.Up {
		n, err = drain(r, &s)
	} else {
		n, err = pour(conn)
	}
	run.mu.Lock()
	defer run.mu.Unlock()
	run.series.Origin = hello.Origin
	run.series.Merge(s)
	run.flows = append(run.flows, FlowResult{Bytes: n, Error: err.Error()})
}

// tcpCollect ends what is left of a run on the server's side and returns what
// it received. The client's reset may be lost or stand in a long queue, so
// nothing waits for it.
func (t *traffic) tcpCollect(_ context.Context, a collectArgs) (TCPResult, error) {
	run, err := t.take(a.Run)
	if err != nil {
		return TCPResult{}, err
	}
	run.mu.Lock()
	for _, conn := range run.conns {
		conn.SetLinger(0)
		conn.SetDeadline(time.Unix(1, 0))
	}
	run.mu.Unlock()
	run.busy.Wait()
	run.mu.Lock()
	defer run.mu.Unlock()
	return TCPResult{Series: run.series, Flows: run.flows}, nil
}
