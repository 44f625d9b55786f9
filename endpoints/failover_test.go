package endpoints

import (
	"testing"
	"time"
)

// failoverTest plays seconds to a failover of exits that answer or not.
type failoverTest struct {
	t   *testing.T
	f   failover
	now time.Duration
	up  []bool
}

func newFailoverTest(t *testing.T, exits int) *failoverTest {
	after := make([]time.Duration, exits)
	for i := range after {
		after[i] = 10 * time.Second
	}
	return &failoverTest{t: t, f: newFailover(after), up: make([]bool, exits)}
}

// until plays until exit i is used and tells how many seconds that took; it gives up after two hours.
func (p *failoverTest) until(i int) int {
	p.t.Helper()
	for s := range 7200 {
		if p.f.current == i {
			return s
		}
		p.play(1, true)
	}
	p.t.Fatalf("exit %d is not used; %+v", i, p.f)
	return 0
}

func (p *failoverTest) play(seconds int, linked bool) {
	for range seconds {
		p.now += time.Second
		p.f.see(p.now, linked, p.up)
	}
}

func TestFailoverTakesTheNext(t *testing.T) {
	p := newFailoverTest(t, 3)
	p.up[0] = true
	p.play(5, true)
	p.up[0] = false
	p.play(9, true)
	if p.f.current != 0 || p.f.reach != 0 {
		t.Fatalf("after 8 s of silence: %+v", p.f)
	}
	p.play(2, true)
	if p.f.current != 0 || p.f.reach != 1 {
		t.Fatalf("after 10 s of silence the second is not tried: %+v", p.f)
	}
	p.play(10, true)
	if p.f.reach != 2 {
		t.Fatalf("the second is silent too, and the third is not tried: %+v", p.f)
	}
	p.up[2] = true
	if s := p.until(2); s > 3 {
		t.Errorf("the third takes over after %d s", s)
	}
	p.up[1] = true
	if s := p.until(1); s < 60 || s > 62 {
		t.Errorf("the second, better than the third, is used after %d s", s)
	}
	if p.f.reach != 1 {
		t.Errorf("the third keeps a session: %+v", p.f)
	}
}

// Without an uplink no exit is to blame, and one that comes back just after the first is not taken for it.
func TestFailoverBlamesNobodyWithoutUplinks(t *testing.T) {
	p := newFailoverTest(t, 2)
	p.up[0] = true
	p.play(1, true)
	p.up[0] = false
	p.play(600, false)
	if p.f.reach != 0 {
		t.Fatalf("no uplink, and the second is tried: %+v", p.f)
	}
	p.play(11, true)
	p.up[1] = true
	p.play(1, true)
	p.up[0] = true
	p.play(30, true)
	if p.f.current != 0 || p.f.reach != 0 {
		t.Errorf("both came back: %+v", p.f)
	}
}

func TestFailoverDampsReturns(t *testing.T) {
	p := newFailoverTest(t, 2)
	p.up[0], p.up[1] = true, true
	for i, want := range []int{60, 120, 240} {
		p.up[0] = false
		p.until(1)
		p.up[0] = true
		if s := p.until(0); s < want || s > want+2 {
			t.Errorf("return %d after %d s, want %d", i, s, want)
		}
	}
	p.play(3600, true)
	p.up[0] = false
	p.until(1)
	p.play(30, true)
	p.up[0] = true
	p.play(50, true)
	p.up[0] = false // it has to last from the beginning
	p.play(1, true)
	p.up[0] = true
	if s := p.until(0); s < 60 || s > 62 {
		t.Errorf("after an hour without trouble the return took %d s", s)
	}
}
