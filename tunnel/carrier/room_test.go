package carrier

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"
)

// memoryTest is a Memory of a size.
type memoryTest struct {
	mu      sync.Mutex
	left    int
	refused int
}

func (m *memoryTest) Take(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > m.left {
		m.refused++
		return false
	}
	m.left -= n
	return true
}

func (m *memoryTest) Give(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left += n
}

func (m *memoryTest) free() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left
}

// TestRoomGrows: the window is what the reader takes in a second, as far as there is memory, and comes back.
func TestRoomGrows(t *testing.T) {
	now := time.Unix(1000, 0)
	m := &memoryTest{left: 3 * roomFirst}
	var r room
	if limit := r.begin(m, now); limit != roomFirst {
		t.Errorf("a new stream may have %d bytes", limit)
	}
	if _, ok := r.read(roomFirst/2-1, now); ok {
		t.Error("told before half of it was read")
	}
	read := func(n uint64, after time.Duration, window uint64) {
		t.Helper()
		now = now.Add(after)
		if limit, ok := r.read(n, now); !ok || limit != n+window {
			t.Errorf("%d bytes read after %v: limit %d, told %v; want %d", n, after, limit, ok, n+window)
		}
	}
	read(roomFirst/2, 10*time.Second, roomFirst)                          // a slow reader
	read(roomFirst, time.Second/3, roomFirst*3/2)                         // 1.5 windows in a second
	read(3*roomFirst, time.Millisecond, 3*roomFirst)                      // fast: twice as much at a time
	if read(6*roomFirst, time.Millisecond, 3*roomFirst); m.refused != 1 { // and no more memory
		t.Errorf("%d refusals", m.refused)
	}
	if r.end(); m.free() != 3*roomFirst {
		t.Errorf("%d bytes came back", m.free())
	}
	r.end()
	if m.free() != 3*roomFirst {
		t.Error("given back twice")
	}
}

// TestMemory: streams that nobody reads hold their first window each; one that is read goes on at any amount of memory.
func TestMemory(t *testing.T) {
	for _, size := range []int{0, 8 << 20} {
		m := &memoryTest{left: size}
		n := newNetworkWith(t, m)
		c := n.client()
		for range 3 {
			stuck, _ := n.open(c, "stuck")
			until(t, "the peer's word", func() bool { stuck.mu.Lock(); defer stuck.mu.Unlock(); return stuck.bounded })
			stuck.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			if k, err := stuck.Write(make([]byte, 2*roomFirst)); !errors.Is(err, os.ErrDeadlineExceeded) || k > roomFirst {
				t.Errorf("memory %d: %d bytes were taken that nobody reads: %v", size, k, err)
			}
		}
		near, far := n.open(c, "read")
		want := pattern(6 << 20)
		go func() {
			near.Write(want)
			near.CloseWrite()
		}()
		if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, want) {
			t.Errorf("memory %d: %d bytes of %d, %v", size, len(got), len(want), err)
		}
		if size > 0 && m.free() == size {
			t.Error("the window of a fast reader has not grown")
		}
		if far.Close(); m.free() != size {
			t.Errorf("%d of %d bytes are back", m.free(), size)
		}
	}
}

// TestRoomEnds: a Write that waits for room ends with its stream and with its carrier.
func TestRoomEnds(t *testing.T) {
	for name, end := range map[string]func(near *Stream, far served){
		"reset by the peer": func(_ *Stream, far served) { far.Reset() },
		"closed":            func(near *Stream, _ served) { near.Close() },
		"carrier":           func(near *Stream, _ served) { near.conn.shut() },
	} {
		n := newNetworkWith(t, &memoryTest{})
		near, far := n.open(n.client(), "a")
		until(t, "the peer's word", func() bool { near.mu.Lock(); defer near.mu.Unlock(); return near.bounded })
		near.SetDeadline(time.Time{})
		done := make(chan error, 1)
		go func() {
			_, err := near.Write(make([]byte, 2*roomFirst))
			done <- err
		}()
		until(t, "no room", func() bool { return near.Moved() == roomFirst })
		end(near, far)
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s: all was written", name)
			}
		case <-time.After(patience):
			t.Fatalf("%s: still writing", name)
		}
	}
}
