package endpoints

import (
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints/mptcp"
)

// TestCarrierCongestion: BBR while writes wait for the network, CUBIC for what does not fill it.
func TestCarrierCongestion(t *testing.T) {
	var c carrierCongestion
	now := time.Unix(1000, 0)
	last := ""
	write := func(n int, took time.Duration) {
		if name := c.before(now); name != "" {
			last = name
		}
		begin := now
		now = now.Add(took)
		if name := c.after(begin, now, n); name != "" {
			last = name
		}
	}
	is := func(when, want string) {
		t.Helper()
		if last != want {
			t.Errorf("%s: %q, want %q", when, last, want)
		}
		last = want
	}
	for range 50 {
		write(10_000, 100*time.Microsecond)
		now = now.Add(100 * time.Millisecond)
	}
	is("short connections", mptcp.Cubic)
	write(32_000, 20*time.Millisecond)
	is("a write that waits", mptcp.BBR)
	for range 1000 {
		write(32_000, 4*time.Millisecond)
	}
	is("a fast line", mptcp.BBR)
	now = now.Add(1500 * time.Millisecond)
	write(1000, 0)
	is("after a satellite's pause", mptcp.BBR)
	last = ""
	now = now.Add(time.Second)
	write(1000, 0)
	is("set anew for new subflows", mptcp.BBR)
	now = now.Add(6 * time.Second)
	write(1000, 0)
	now = now.Add(3 * time.Second)
	write(1000, 0)
	is("after a rest", mptcp.Cubic)
}
