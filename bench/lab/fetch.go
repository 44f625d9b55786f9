package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// FetchSpec asks for short downloads, each on a connection of its own, as a
// browser or a package manager makes them.
type FetchSpec struct {
	Source     netip.Addr    `json:"source"` // zero: the host's choice
	Server     netip.Addr    `json:"server"`
	Bytes      int64         `json:"bytes"` // of each answer
	Count      int           `json:"count"`
	Every      time.Duration `json:"every"` // between two starts; 0: each starts a moment after the one before has ended
	Timeout    time.Duration `json:"timeout"`
	Congestion string        `json:"congestion"` // "" means DefaultCongestion
	Multipath  bool          `json:"multipath"`  // by the kernel's MPTCP
}

// fetchPause is between two downloads one after the other: what the last one
// has left in queues is gone by then.
const fetchPause = 200 * time.Millisecond

// Fetches are the times from the first SYN to the last byte, in the order of
// the starts.
type Fetches struct {
	Took   []time.Duration `json:"took"` // 0: it failed
	Errors []string        `json:"errors,omitempty"`
}

// Err is the first download that failed.
func (f Fetches) Err() error {
	if len(f.Errors) == 0 {
		return nil
	}
	return fmt.Errorf("%d downloads failed, the first one: %s", len(f.Errors), f.Errors[0])
}

// Fetch makes the downloads from the LAN.
func (l *Lab) Fetch(ctx context.Context, spec FetchSpec) (Fetches, error) {
	if !spec.Server.IsValid() {
		spec.Server = Server4
	}
	var res Fetches
	err := l.LAN.call(ctx, "tcp.fetch", spec, &res)
	return res, err
}

// fetch is Fetch on the host that runs it.
func (t *traffic) fetch(ctx context.Context, a FetchSpec) (Fetches, error) {
	if a.Congestion == "" {
		a.Congestion = DefaultCongestion
	}
	var (
		res Fetches
		mu  sync.Mutex
		wg  sync.WaitGroup
	)
	took := make([]time.Duration, a.Count)
	one := func(i int) {
		d, err := a.one(ctx)
		if err == nil {
			took[i] = d
			return
		}
		mu.Lock()
		defer mu.Unlock()
		res.Errors = append(res.Errors, err.Error())
	}
	pause := a.Every
	if pause == 0 {
		pause = fetchPause
	}
	for i := range a.Count {
		if i > 0 {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return res, context.Cause(ctx)
			}
		}
		if a.Every == 0 {
			one(i)
		} else {
			wg.Go(func() { one(i) })
		}
	}
	wg.Wait()
	res.Took = took
	return res, nil
}

// one makes one download.
func (a FetchSpec) one(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	hello, err := json.Marshal(tcpHello{Bytes: a.Bytes, Congestion: a.Congestion})
	if err != nil {
		return 0, err
	}
	begin := Now()
	conn, err := tcpArgs{TCPSpec: TCPSpec{Source: a.Source, Server: a.Server, Congestion: a.Congestion, Multipath: a.Multipath}}.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(a.Timeout))
	if _, err := conn.Write(append(hello, '\n')); err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, conn)
	if err == nil && n != a.Bytes {
		err = fmt.Errorf("the answer ended after %d of %d bytes", n, a.Bytes)
	}
	return Now() - begin, err
}

// answer is the server's side: so many bytes, and the end.
func answer(conn *net.TCPConn, n int64) {
	block := make([]byte, min(n, tcpChunk))
	for n > 0 {
		k, err := conn.Write(block[:min(n, int64(len(block)))])
		if err != nil {
			return
		}
		n -= int64(k)
	}
	conn.CloseWrite()
	io.Copy(io.Discard, conn) // until the client has closed, so that no reset overtakes the end
}
