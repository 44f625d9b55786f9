package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultHalfIdle is more than the 4 minutes that RFC 5382 (REQ-5) demands of
	// a NAT for connections that are closing.
	DefaultHalfIdle = 5 * time.Minute

	// A direction reads into smallBuffer until it is full, and then into
	// largeBuffer until a read brings less than a quarter of that: what is quiet
	// holds little memory, what is fast makes few calls.
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
)

// ErrIdle says that nothing moved for too long.
var ErrIdle = errors.New("nothing moved for too long")

// Relayer joins two streams. The zero value is good.
type Relayer struct {
	// Idle ends what is quiet in both directions; 0 never does: a connection may
	// be quiet for days, and keep-alive tells when its ends are gone.
	Idle time.Duration
	// HalfIdle ends what is quiet after one direction has ended; 0: DefaultHalfIdle.
	HalfIdle time.Duration
}

// Transfer is what a relay carried, in bytes.
type Transfer struct{ AToB, BToA int64 }

// Relay is Relayer{}.Relay.
func Relay(a, b Conn) (Transfer, error) { return Relayer{}.Relay(a, b) }

// Relay copies between the two streams until both directions have ended, and
// closes both. The end of one direction is passed on by CloseWrite, the other
// one goes on. Any error of either stream, a reset above all, aborts both at once
// and is returned; ErrIdle likewise.
func (r Relayer) Relay(a, b Conn) (Transfer, error) {
	if r.HalfIdle == 0 {
		r.HalfIdle = DefaultHalfIdle
	}
	j := &joint{Relayer: r, begin: time.Now()}
	var t Transfer
	var back sync.WaitGroup
	run := func(from, to Conn, n *int64) {
		if err := j.copy(from, to, n); err != nil {
			j.abort(err, a, b)
			return
		}
		j.half.Store(true)
		// The other direction may be waiting without a limit. If its end has come
		// meanwhile, this does nothing.
		to.SetReadDeadline(time.Now().Add(r.HalfIdle))
		from.SetWriteDeadline(time.Now().Add(r.HalfIdle))
	}
	back.Go(func() { run(b, a, &t.BToA) })
	run(a, b, &t.AToB)
	back.Wait()
	if j.err != nil {
		return t, j.err
	}
	return t, errors.Join(a.Close(), b.Close())
}

// joint is one relay.
type joint struct {
	Relayer
	begin time.Time
	last  atomic.Int64 // when something was read, since begin
	half  atomic.Bool  // one direction has ended
	once  sync.Once
	err   error // what aborted it; read after both directions have ended
}

// abort keeps the first error and unblocks both directions.
func (j *joint) abort(err error, a, b Conn) {
	j.once.Do(func() {
		j.err = err
		Abort(a)
		Abort(b)
	})
}

// limit is how long nothing may move now; 0: for ever.
func (j *joint) limit() time.Duration {
	if j.half.Load() {
		return j.HalfIdle
	}
	return j.Idle
}

// arm sets a deadline if there is a limit; again, if the limit became another
// one meanwhile, so that the shorter one is not overwritten by the longer.
func (j *joint) arm(set func(time.Time) error) {
	for limit := time.Duration(0); limit != j.limit(); {
		limit = j.limit()
		set(time.Now().Add(limit))
	}
}

var largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}

// copy carries one direction to its end.
func (j *joint) copy(from, to Conn, total *int64) error {
	small := make([]byte, smallBuffer)
	var large *[largeBuffer]byte
	defer func() {
		if large != nil {
			largeBuffers.Put(large)
		}
	}()
	for {
		buf := small
		if large != nil {
			buf = large[:]
		}
		j.arm(from.SetReadDeadline)
		n, err := from.Read(buf)
		if n > 0 {
			j.last.Store(int64(time.Since(j.begin)))
			j.arm(to.SetWriteDeadline)
			m, err := to.Write(buf[:n])
			*total += int64(m)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = ErrIdle
			}
			if err != nil {
				return err
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return to.CloseWrite()
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case time.Since(j.begin)-time.Duration(j.last.Load()) >= j.limit(): // else the other direction was busy
			return fmt.Errorf("%w (%v)", ErrIdle, j.limit())
		}
		switch {
		case large == nil && n == len(small):
			large = largeBuffers.Get().(*[largeBuffer]byte)
		case large != nil && n < largeBuffer/4:
			largeBuffers.Put(large)
			large = nil
		}
	}
}

// Abort closes a stream so that its other side sees a reset instead of an end, if
// the stream, or one that it wraps (NetConn), can: by Reset, or by SetLinger(0) and Close.
func Abort(c net.Conn) error {
	for at := c; at != nil; {
		switch s := at.(type) {
		case interface{ Reset() error }:
			return s.Reset()
		case interface{ SetLinger(int) error }:
			s.SetLinger(0)
			return c.Close()
		case interface{ NetConn() net.Conn }:
			at = s.NetConn()
		default:
			return c.Close()
		}
	}
	return c.Close()
}
