package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// maxEarly bounds what is kept of the bytes that a client sends before its
// answer: a TLS hello with room to spare. More waits in the kernel.
const maxEarly = 8 << 10

// watch reads from a client that waits for its answer.
type watch struct {
	conn Conn
	data []byte // read so far
	done chan struct{}
}

// newWatch begins to read; data is what was read before. gone is called if the
// client resets the connection. stop ends it.
func newWatch(c Conn, data []byte, gone context.CancelFunc) *watch {
	w := &watch{conn: c, data: data, done: make(chan struct{})}
	go w.run(gone) // joined by stop
	return w
}

func (w *watch) run(gone context.CancelFunc) {
	defer close(w.done)
	buf := make([]byte, maxEarly)
	for len(w.data) < maxEarly {
		n, err := w.conn.Read(buf[:maxEarly-len(w.data)])
		w.data = append(w.data, buf[:n]...)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF): // the client will send no more; the next read says so again
			return
		case errors.Is(err, os.ErrDeadlineExceeded): // stop
			return
		default:
			gone()
			return
		}
	}
}

// stop ends the watch and returns the client's stream, from its first byte
// that was not part of the handshake.
func (w *watch) stop() Conn {
	w.conn.SetReadDeadline(time.Unix(1, 0)) // in the past whatever the clock says
	<-w.done
	w.conn.SetReadDeadline(time.Time{})
	if len(w.data) == 0 {
		return w.conn
	}
	return &ahead{w.conn, w.data}
}

// ahead is a stream of which the beginning was read already.
type ahead struct {
	Conn
	data []byte
}

func (a *ahead) Read(p []byte) (int, error) {
	if len(a.data) > 0 {
		n := copy(p, a.data)
		if a.data = a.data[n:]; len(a.data) == 0 {
			a.data = nil
		}
		return n, nil
	}
	return a.Conn.Read(p)
}

// NetConn is the stream below.
func (a *ahead) NetConn() net.Conn { return a.Conn }
