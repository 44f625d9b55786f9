package cc

import "time"

const (
	// maxLoss is the random loss that sending more can make up for.
	maxLoss = 0.15
	// doubtful loss, without a queue, may be a radio's or a policer's.
	doubtful  = 0.05
	testGain  = 0.75
	testEvery = 10 * time.Second
	// testPackets is enough to see a quarter of the doubtful loss apart from all of it.
	testPackets = 80
	// testLongest ends a test that does not see so many: a flow that sends little would be held to the test's rate for as long.
	testLongest = 3 * time.Second
)

// lossTest tells random loss from a policer. Neither shows a queue; but
// sending less than the policer grants ends its loss, and a radio's goes on.
// Random loss is made up for, the policer's rate is accepted.
type lossTest struct {
	loss     float64 // usual loss while the queue is short
	came     float64 // usual rate of what arrived meanwhile, bytes/s
	policed  bool    // loss ended when we sent less: the rate is granted, not carried
	testing  bool
	granted  float64 // rate that came through when the test began
	nextTest time.Duration
	testTill time.Duration
	settle   int // epochs until the test's own loss is seen
	lost     int // bytes of the test
	total    int
}

// surplus is the factor by which to send more than is to arrive.
func (c *BBR) surplus() float64 {
	if c.policed || c.testing {
		return 1
	}
	return 1 / (1 - min(c.loss, maxLoss))
}

// weighLoss files the loss of one epoch.
func (c *BBR) weighLoss(now time.Duration, e epoch, rate float64) {
	total := e.delivered + e.lost
	if c.state != cruise {
		c.testing = false
	}
	// A test goes on while there is little to send: that is less than what was granted, too.
	if c.state != cruise || total == 0 || !c.testing && (e.appLimited || e.queueMin > c.low() || e.slow) {
		return
	}
	p := float64(e.lost) / float64(total)
	if !c.testing {
		c.loss += (p - c.loss) / 8
		if c.came == 0 {
			c.came = rate
		}
		c.came += (rate - c.came) / 8
		// Who loses although less is sent than in a test has the answer.
		if c.loss > doubtful && p > doubtful && now >= c.nextTest && c.came/(1-c.loss) >= testGain*c.bw.value() {
			c.testing, c.settle, c.lost, c.total = true, 3, 0, 0
			c.testTill, c.nextTest = now+testLongest, now+testEvery // a test that is cut short counts as well
			c.granted = c.came
		}
		return
	}
	if c.settle--; c.settle > 0 {
		return
	}
	c.lost += e.lost
	c.total += total
	if c.total < testPackets*c.mss {
		return
	}
	c.testing = false
	c.policed = float64(c.lost) < c.loss/4*float64(c.total)
	if c.policed {
		c.loss = 0
		c.bw.limit(c.granted)
		c.nextUp = now + c.interval()
	} else {
		c.nextTest = now + testEvery
	}
}
