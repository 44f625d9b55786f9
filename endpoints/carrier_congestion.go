package endpoints

import (
	"time"

	"github.com/bondd/bondd/endpoints/mptcp"
)

// A carrier has BBR while the network is what limits it, and CUBIC otherwise. BBR keeps a line with loss full, but the kernel's MPTCP does not tell it when
// nothing was there to be sent (Linux 6.18): it takes what short connections send for the rate of the line, and paces the next ones by it, so that 10 kB take up to two round
// trips on a carrier that is ready, where CUBIC takes one. Sockets are made without BBR, since what it began goes on afterwards: a burst is spread over a quarter of a round trip.
const (
	// congestionWait is how long a write has to wait for the network to be limited by it; one that does not takes some 0.1 ms.
	congestionWait = 5 * time.Millisecond
	// congestionRest is how long no write may have waited for it to be over. On a satellite all streams of a carrier can stand still for a second or two.
	congestionRest = 3 * time.Second
	// congestionBulk is what has been sent in that time by a line that is too fast for waits to be long, in bytes.
	congestionBulk = 1 << 20
	// congestionAgain is how often it is set anew, for subflows that have joined since.
	congestionAgain = time.Second
)

// carrierCongestion chooses the congestion control of one carrier, at its sending end. One goroutine uses it at a time.
type carrierCongestion struct {
	bulk  bool
	from  time.Time // of what sent counts
	sent  int
	setAt time.Time
}

// before is told of a write that begins, and after of one that has ended. They return what is to be set now; empty: nothing.
func (c *carrierCongestion) before(now time.Time) string {
	if c.bulk && now.Sub(c.from) >= congestionRest {
		c.bulk = c.sent >= congestionBulk
		c.from, c.sent = now, 0
		if !c.bulk {
			return c.set(now)
		}
	}
	if now.Sub(c.setAt) >= congestionAgain {
		return c.set(now)
	}
	return ""
}

func (c *carrierCongestion) after(begin, end time.Time, n int) string {
	c.sent += n
	if end.Sub(begin) < congestionWait {
		return ""
	}
	was := c.bulk
	c.bulk, c.from, c.sent = true, end, 0
	if was {
		return ""
	}
	return c.set(end)
}

func (c *carrierCongestion) set(now time.Time) string {
	c.setAt = now
	if c.bulk {
		return mptcp.BBR
	}
	return mptcp.Cubic
}

// Write is that of the TLS connection. Only the sending goroutine of a carrier calls it.
func (c carrierConn) Write(b []byte) (int, error) {
	if c.congestion == nil {
		return c.Conn.Write(b)
	}
	begin := time.Now()
	if name := c.congestion.before(begin); name != "" {
		mptcp.SetCongestion(c.tcp, name)
	}
	n, err := c.Conn.Write(b)
	if name := c.congestion.after(begin, time.Now(), n); name != "" {
		mptcp.SetCongestion(c.tcp, name)
	}
	return n, err
}
