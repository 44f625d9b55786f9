package endpoints

import (
	"context"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
)

func TestEngineMovesBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		sock := newSlowSocket()
		i := r.socks.open(sock)
		var packets []*buf.Buf
		var arrivals []tunnel.Arrival
		for range 1000 { // more than a turn takes
			packets = append(packets, buf.Get())
			arrivals = append(arrivals, tunnel.Arrival{Buf: buf.Get()})
		}
		if n := r.e.in.putPackets(packets); n != 1000 {
			t.Fatalf("took %d packets", n)
		}
		r.e.in.putArrivals(arrivals)
		released := buf.Get()
		released.Append(packet(far, inner, 7))
		r.do(func(time.Duration) {
			r.s.released = []*buf.Buf{released}
			r.s.datagrams(i, 10, 100, 0)
		})
		sock.tokens <- struct{}{}
		synctest.Wait()
		r.do(func(time.Duration) {
			if r.s.packets != 1000 || r.s.arrivals != 1000 {
				t.Errorf("pushed %d packets and %d datagrams, want 1000 each", r.s.packets, r.s.arrivals)
			}
		})
		if n := sock.count(); n != 10 {
			t.Errorf("the socket got %d datagrams, want 10", n)
		}
		if got := <-r.dev.Written(); !slices.Equal(got.Data, packet(far, inner, 7)) {
			t.Errorf("the TUN device got %x", got.Data)
		}
	})
}

func TestEngineCallsAdvanceAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		var at time.Duration
		r.do(func(now time.Duration) { at = now + 70*time.Millisecond; r.s.deadline = at })
		time.Sleep(69 * time.Millisecond)
		r.do(func(time.Duration) {
			if r.s.advanced != 0 {
				t.Error("advanced before the deadline")
			}
		})
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		r.do(func(time.Duration) {
			if r.s.advanced == 0 {
				t.Error("not advanced after the deadline")
			}
			r.s.deadline = never
		})
	})
}

// A session whose deadline stays in the past must not take the whole processor.
func TestEngineDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		r.do(func(now time.Duration) { r.s.deadline = now })
		time.Sleep(10 * time.Millisecond)
		r.do(func(time.Duration) {
			if n, limit := r.s.advanced, int(10*time.Millisecond/minSleep)+2; n > limit {
				t.Errorf("advanced %d times in 10 ms, at most %d are allowed", n, limit)
			}
			r.s.deadline = never
		})
	})
}

// A full writer keeps the engine from pulling, and room wakes it.
func TestEngineWaitsForTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		sock := newSlowSocket()
		i := r.socks.open(sock)
		r.do(func(time.Duration) { r.s.datagrams(i, 2000, 1500, 0) })
		time.Sleep(10 * time.Millisecond)
		left := 0
		r.do(func(time.Duration) { left = len(r.s.ready) })
		if taken := 2000 - left; taken < writerLimit/1500 || taken > writerLimit/1500+batch {
			t.Errorf("the writer took %d datagrams, %d is its limit", taken, writerLimit/1500)
		}
		for range 2000/batch + 10 {
			sock.tokens <- struct{}{}
			synctest.Wait()
		}
		if n := sock.count(); n != 2000 {
			t.Errorf("%d datagrams were sent, want 2000", n)
		}
		if d := r.drops.snapshot(); len(d) != 0 {
			t.Errorf("drops: %v", d)
		}
	})
}

// A stuck socket holds up the others only for writerPatience.
func TestStuckSocketLetsOthersGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		stuck, well := newSlowSocket(), newSlowSocket()
		a, b := r.socks.open(stuck), r.socks.open(well)
		for range 100 {
			well.tokens <- struct{}{}
		}
		r.do(func(time.Duration) {
			r.s.ready = append(outs(a, 500, 1500, 0), outs(b, 10, 1500, 1)...)
		})
		time.Sleep(writerPatience - time.Millisecond)
		if n := well.count(); n != 0 {
			t.Errorf("%d datagrams overtook", n)
		}
		time.Sleep(2 * time.Millisecond)
		if n := well.count(); n != 10 {
			t.Errorf("%d datagrams went by the other socket, want 10", n)
		}
		if d := r.drops.snapshot(); d["datagram_writer_full"] < 100 {
			t.Errorf("drops: %v", d)
		}
		for range 100 {
			stuck.tokens <- struct{}{}
		}
		synctest.Wait()
		r.do(func(time.Duration) { r.s.datagrams(a, 10, 1500, 0) })
		synctest.Wait()
		if n := stuck.count(); n < writerLimit/1500+10 {
			t.Errorf("the socket that was stuck sent %d datagrams", n)
		}
	})
}

// What a socket refuses is counted by its reason; the rest of the batch goes on; a way out that is gone is told at once.
func TestWriteErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		sock := newSlowSocket()
		sock.refuse = func(i int) error {
			switch i {
			case 2:
				return syscall.EMSGSIZE
			case 3, 5:
				return syscall.ENETUNREACH
			case 7:
				return syscall.ENOBUFS
			}
			return nil
		}
		i := r.socks.open(sock)
		sock.tokens <- struct{}{}
		r.do(func(time.Duration) { r.s.datagrams(i, 10, 100, 3) })
		synctest.Wait()
		if n := sock.count(); n != 6 {
			t.Errorf("%d datagrams were sent, want 6", n)
		}
		d := r.drops.snapshot()
		if d["datagram_too_long"] != 1 || d["datagram_path_down"] != 2 || d["datagram_write_failed"] != 1 {
			t.Errorf("drops: %v", d)
		}
		r.do(func(time.Duration) {
			if len(r.s.failed) == 0 || r.s.failed[0] != 3 {
				t.Errorf("paths that failed: %v, want 3", r.s.failed)
			}
		})
	})
}

// News of a path of an old session is not taken for one of the new session.
func TestLateFailureOfAnOldSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		r.e.in.pathFailed(1, 3)
		synctest.Wait()
		next := &scripted{}
		r.do(func(now time.Duration) { r.e.swap(now, next) })
		r.e.in.pathFailed(1, 4)
		r.e.in.pathFailed(2, 200)
		r.e.in.pathFailed(2, 5)
		synctest.Wait()
		r.do(func(time.Duration) {
			if !slices.Equal(r.s.failed, []tunnel.PathID{3}) || !slices.Equal(next.failed, []tunnel.PathID{5, 200}) {
				t.Errorf("failed: old %v, new %v", r.s.failed, next.failed)
			}
		})
		if r.s.closed == "" {
			t.Error("the old session was not closed")
		}
	})
}

func TestEngineTellsItsOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		r.do(func(time.Duration) {
			r.s.events = []tunnel.Event{{Kind: tunnel.PathUp, Name: "one"}, {Kind: tunnel.MTUChanged}}
		})
		r.do(func(time.Duration) { r.s.dead = true })
		time.Sleep(3 * time.Second) // told once, though it is dead for long
		r.do(func(time.Duration) { r.s.dead = false })
		time.Sleep(time.Second)
		if !r.e.alive.Load() {
			t.Error("not alive")
		}
		r.do(func(time.Duration) { r.s.dead = true })
		time.Sleep(time.Second)
		r.do(func(time.Duration) {
			r.s.events = []tunnel.Event{{Kind: tunnel.PeerClosed}, {Kind: tunnel.PathUp}}
		})
		synctest.Wait()
		r.do(func(time.Duration) {
			if r.e.s != nil {
				t.Error("the session was kept though its peer closed it")
			}
		})
		if want := []string{"mtu", "up", "mtu", "lost", "lost", "closed"}; !slices.Equal(r.told, want) {
			t.Errorf("told %v, want %v", r.told, want)
		}
	})
}

func TestEngineWithoutSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.do(func(now time.Duration) { r.e.drop(now, closeShutdown, "gone") })
		r.e.in.putPackets([]*buf.Buf{buf.Get(), buf.Get()})
		r.e.in.putArrivals([]tunnel.Arrival{{Buf: buf.Get()}})
		synctest.Wait()
		if d := r.drops.snapshot(); d["packet_no_session"] != 2 || d["datagram_unknown_session"] != 1 {
			t.Errorf("drops: %v", d)
		}
		r.end()
		if r.e.in.putPackets([]*buf.Buf{buf.Get()}) != 0 || r.e.in.post(nil) || r.e.call(context.Background(), nil) {
			t.Error("an engine that has ended takes something")
		}
	})
}

func TestInboxIsBoundedAndPatientReadersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		var many []*buf.Buf
		for range inboxPackets + 100 {
			many = append(many, buf.Get())
		}
		hold := make(chan struct{})
		r.e.in.post(func(time.Duration) { <-hold })
		synctest.Wait() // the engine is held
		n := r.e.in.putPackets(many)
		if n != inboxPackets {
			t.Errorf("took %d packets, %d is the limit", n, inboxPackets)
		}
		done := make(chan int)
		go func() { done <- patientPackets(r.e, many[n:]) }() // joined below
		synctest.Wait()
		close(hold)
		if n := <-done; n != 100 {
			t.Errorf("a patient reader put in %d packets, want 100", n)
		}
		synctest.Wait()
		r.do(func(time.Duration) {
			if r.s.packets != inboxPackets+100 {
				t.Errorf("the session got %d packets", r.s.packets)
			}
		})
	})
}

func TestPathsFollowWhatIsWanted(t *testing.T) {
	want := func(uplink string, local netip.Addr, usable bool) wantedPath {
		return wantedPath{uplink: uplink, remote: exitListen, usable: usable,
			spec: tunnel.PathSpec{Name: uplink, MTU: 1500, To: tunnel.Endpoint{Local: local, Remote: exitListen}}}
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.end()
		step := func(name string, calls []string, ws ...wantedPath) {
			r.do(func(now time.Duration) {
				r.s.calls = nil
				r.e.paths.set(now, r.e, ws)
				if !slices.Equal(r.s.calls, calls) {
					t.Errorf("%s: %q, want %q", name, r.s.calls, calls)
				}
			})
		}
		step("two appear", []string{"add a", "add b"}, want("a", addrOne, true), want("b", addrTwo, true))
		step("nothing changes", nil, want("a", addrOne, true), want("b", addrTwo, true))
		step("a goes down", []string{"fail 1"}, want("a", addrOne, false), want("b", addrTwo, true))
		step("a stays down", nil, want("a", addrOne, false), want("b", addrTwo, true))
		step("a returns", []string{"move 1 to 192.0.2.2"}, want("a", addrOne, true), want("b", addrTwo, true))
		step("a has a new address", []string{"move 1 to 192.0.2.3"}, want("a", addrThree, true), want("b", addrTwo, true))
		step("b vanishes, c is not usable yet", []string{"fail 2", "remove 2"}, want("a", addrThree, true), want("c", addrTwo, false))
		step("c is usable", []string{"add c"}, want("a", addrThree, true), want("c", addrTwo, true))
		backup := want("c", addrTwo, true)
		backup.spec.Backup = true
		step("c becomes a backup", []string{"terms 3"}, want("a", addrThree, true), backup)
		r.do(func(now time.Duration) {
			next := &scripted{}
			r.e.swap(now, next)
			if want := []string{"add a", "add c"}; !slices.Equal(next.calls, want) {
				t.Errorf("a new session got %q, want %q", next.calls, want)
			}
		})
	})
}
