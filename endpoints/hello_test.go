package endpoints

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/uplink"
	"github.com/bondd/bondd/tunnel/control"
)

var secondRemote = netip.MustParseAddrPort("203.0.113.2:7117")

func TestAttemptsTakeEveryUplinkBeforeTheSecondRemote(t *testing.T) {
	six := testUplink("six", 3, netip.MustParseAddr("2001:db8::2"))
	six.Source4, six.Source6, six.Default6, six.Default4 = netip.Addr{}, six.Source4, true, false
	down := testUplink("down", 4, addrThree)
	down.Up = false
	snap := uplink.Snapshot{Uplinks: []uplink.Uplink{down, testUplink("one", 1, addrOne), six, testUplink("two", 2, addrTwo)}}
	v6 := netip.MustParseAddrPort("[2001:db8::1]:7117")
	as := attempts(snap, []netip.AddrPort{exitListen, secondRemote, v6})
	var got []string
	for _, a := range as {
		got = append(got, a.String())
	}
	want := []string{
		"one to 203.0.113.1:7117", "two to 203.0.113.1:7117",
		"one to 203.0.113.2:7117", "two to 203.0.113.2:7117", "six to [2001:db8::1]:7117",
	}
	if !slices.Equal(got, want) {
		t.Errorf("attempts %q\nwant     %q", got, want)
	}
	last := as[3]
	prefer(as, &last)
	if as[0].String() != want[3] || as[1].String() != want[0] || as[4].String() != want[4] {
		t.Errorf("with a preferred way: %v", as)
	}
	prefer(as, nil)
}

// served answers hellos over a pipe like an exit, after a delay.
func served(t *testing.T, wg *sync.WaitGroup, exit control.PrivateKey, delay time.Duration, a control.Answer) net.Conn {
	ours, theirs := net.Pipe()
	wg.Go(func() {
		defer theirs.Close()
		time.Sleep(delay)
		_, _ = control.Server(context.Background(), theirs, exit, func(control.PublicKey) bool { return true },
			func(control.PublicKey, control.Offer) control.Answer { return a })
	})
	return ours
}

func TestHelloRound(t *testing.T) {
	good := control.Answer{Index: 5, Addresses: []netip.Prefix{netip.PrefixFrom(inner, 32)}}
	type way struct {
		refuse error         // of dialling
		delay  time.Duration // of the answer
		hang   bool          // the dial never ends
		answer control.Answer
	}
	for _, c := range []struct {
		name string
		ways []way
		won  int // index of the winner, -1 none
		took time.Duration
		errs []string
	}{
		{"the first answers at once", []way{{answer: good}, {answer: good}}, 0, 0, nil},
		{"a slow one is overtaken", []way{{answer: good, delay: time.Second}, {answer: good}}, 1, helloStagger, nil},
		{"a slow one wins by its head start", []way{{answer: good, delay: 400 * time.Millisecond}, {answer: good, delay: time.Second}}, 0, 400 * time.Millisecond, nil},
		{"one that fails gives way at once", []way{{refuse: errors.New("no route")}, {answer: good}}, 1, 0, nil},
		{"all hang but the last", []way{{hang: true}, {hang: true}, {answer: good}}, 2, 2 * helloStagger, nil},
		{"all fail", []way{{refuse: errors.New("no route")}, {refuse: errors.New("refused")}}, -1, 0, []string{"u0", "no route", "u1", "refused"}},
		{"all hang", []way{{hang: true}, {hang: true}}, -1, helloTime + helloStagger, []string{"u0", "u1"}},
		{"the exit says no", []way{{answer: control.Answer{Error: "go away"}}}, -1, 0, []string{"go away"}},
		{"no inner address", []way{{answer: control.Answer{Index: 5}}}, -1, 0, []string{"no inner address"}},
		{"no way", nil, -1, 0, []string{"no uplink is usable"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wg sync.WaitGroup
				own, exit := testKey(t), testKey(t)
				var as []attempt
				for i := range c.ways {
					as = append(as, attempt{uplink.Uplink{Index: i, Name: "u" + string('0'+rune(i))}, exitListen})
				}
				g := greeter{own: own, exit: exit.Public(),
					offer: func() control.Offer { return control.Offer{Index: 1} },
					dial: func(ctx context.Context, from uplink.Uplink, _ netip.AddrPort) (net.Conn, error) {
						w := c.ways[from.Index]
						if w.hang {
							<-ctx.Done()
							return nil, ctx.Err()
						}
						if w.refuse != nil {
							return nil, w.refuse
						}
						return served(t, &wg, exit, w.delay, w.answer), nil
					}}
				begin := time.Now()
				won, err := g.round(t.Context(), as)
				took := time.Since(begin)
				wg.Wait()
				switch {
				case c.won < 0:
					if err == nil {
						t.Fatalf("won by %v", won.attempt)
					}
					for _, part := range c.errs {
						if !strings.Contains(err.Error(), part) {
							t.Errorf("the error does not tell of %q: %v", part, err)
						}
					}
				case err != nil:
					t.Fatal(err)
				case won.from.Index != c.won || won.Answer.Index != 5:
					t.Errorf("won by %v", won.attempt)
				}
				if took < c.took || took > c.took+10*time.Millisecond {
					t.Errorf("took %v, want %v", took, c.took)
				}
			})
		})
	}
}

func TestHelloRoundEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := greeter{dial: func(ctx context.Context, _ uplink.Uplink, _ netip.AddrPort) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := g.round(ctx, make([]attempt, 3)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestGuardBoundsHellos(t *testing.T) {
	var g guard
	from := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	for range maxHellosEach {
		if !g.enter(from(1)) {
			t.Fatal("refused too early")
		}
	}
	if g.enter(from(1)) {
		t.Error("one source may have more than its share")
	}
	if !g.enter(from(2)) {
		t.Error("another source is refused")
	}
	g.leave(from(1))
	if !g.enter(from(1)) {
		t.Error("refused though a place is free")
	}
	for i := range 2 * maxHellos {
		g.enter(from(i + 10))
	}
	if g.all != maxHellos {
		t.Errorf("%d hellos at once, %d are allowed", g.all, maxHellos)
	}
	// One host has a whole /64; a mapped IPv4 address is the IPv4 address.
	var h guard
	for i := range 2 * maxHellosEach {
		a := netip.MustParseAddr("2001:db8::").As16()
		a[15] = byte(i)
		h.enter(netip.AddrFrom16(a))
	}
	if h.all != maxHellosEach {
		t.Errorf("%d hellos from one /64", h.all)
	}
	if network64(netip.MustParseAddr("::ffff:10.0.0.1")) != from(1) {
		t.Error("a mapped address is not its IPv4 address")
	}
}

func TestRemotes(t *testing.T) {
	answers := map[string][]netip.Addr{"exit.example": {exitAddr, secondRemote.Addr()}}
	asked := 0
	h := &host{resolve: func(_ context.Context, _ []uplink.Uplink, name string) ([]netip.Addr, error) {
		asked++
		if a, ok := answers[name]; ok {
			return a, nil
		}
		return nil, errors.New("no such host")
	}}
	r := newRemotes([]config.Address{{Host: "203.0.113.1", Port: 7117}, {Host: "exit.example", Port: 7117}, {Host: "other.example", Port: 1}})
	r = r.lookup(t.Context(), 0, h, nil)
	if want := []netip.AddrPort{exitListen, secondRemote}; !slices.Equal(r.list, want) || r.err == nil {
		t.Errorf("remotes %v, error %v; want %v and one that failed", r.list, r.err, want)
	}
	r = r.lookup(t.Context(), time.Second, h, nil) // a failure is tried again at once
	if asked != 4 {
		t.Errorf("asked %d times, want 4", asked)
	}
	answers["other.example"] = []netip.Addr{addrThree}
	r = r.lookup(t.Context(), 2*time.Second, h, nil)
	if len(r.list) != 3 || r.err != nil {
		t.Errorf("remotes %v, error %v", r.list, r.err)
	}
	r = r.lookup(t.Context(), 3*time.Second, h, nil)
	if asked != 6 {
		t.Errorf("asked again though the answers are fresh: %d", asked)
	}
	clear(answers)
	r = r.lookup(t.Context(), 2*time.Second+remotesFresh, h, nil)
	if asked != 8 || r.err == nil || len(r.list) != 3 {
		t.Errorf("when names do not resolve any more: asked %d, remotes %v, error %v", asked, r.list, r.err)
	}
	fixed := newRemotes([]config.Address{{Host: "203.0.113.1", Port: 7117}}).lookup(t.Context(), 0, h, nil)
	asked = 0
	fixed.lookup(t.Context(), 1000*time.Hour, h, nil)
	if asked != 0 {
		t.Error("an address was looked up")
	}
}
