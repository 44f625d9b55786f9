//go:build unix

package endpoints

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// socketPair is a connection of the kernel.
func socketPair(t *testing.T) (client, ours *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

// A client that has ended its direction and then breaks is noticed, though nobody reads from it; and who waits for that can be called off.
func TestBreakBehindTheEndIsNoticed(t *testing.T) {
	for _, breaks := range []bool{true, false} {
		client, ours := socketPair(t)
		r := newBlockReader(ours)
		client.CloseWrite()
		if _, err := r.read(1); err != io.EOF {
			t.Fatal(err)
		}
		watched := make(chan error, 1)
		go func() { watched <- r.(breakWatcher).watch() }() // ends with the test
		select {
		case err := <-watched:
			t.Fatalf("ended with %v before anything happened", err)
		case <-time.After(20 * time.Millisecond):
		}
		if breaks {
			abort(client)
		} else {
			ours.SetReadDeadline(longAgo)
		}
		select {
		case err := <-watched:
			if breaks != (err != nil) { // Linux says EPIPE here, others ECONNRESET
				t.Errorf("breaks %v: %v", breaks, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("breaks %v: not noticed", breaks)
		}
	}
}

// The whole flow: half-closed and broken it is over, half-closed and answered it ends in order.
func TestHalfClosedFlows(t *testing.T) {
	for _, breaks := range []bool{true, false} {
		client, ours := socketPair(t)
		e := &engine{}
		e.in.init()
		var set flowSet
		f := newFlow(e, &set, nil)
		set.add(f)
		f.start(ours)
		client.CloseWrite()
		var want error
		if breaks {
			for f.mu.Lock(); !f.watching; f.mu.Lock() {
				f.mu.Unlock()
				time.Sleep(time.Millisecond)
			}
			f.mu.Unlock()
			abort(client)
			want = net.ErrClosed
		} else {
			f.put(nil, true)
			want = io.EOF
		}
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, want) {
			t.Errorf("breaks %v: the client reads %v, want %v", breaks, err, want)
		}
		set.wg.Wait()
		if set.len() != 0 || f.over != breaks {
			t.Errorf("breaks %v: %d flows are left, over %v", breaks, set.len(), f.over)
		}
	}
}
