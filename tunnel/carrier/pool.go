package carrier

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// maxDials bounds the dials under way: a page that opens many connections at once finds the pool full again within a few round trips.
	maxDials = 4
	// shareLimit bounds the streams that share a carrier for want of an idle one.
	shareLimit = 8
	// idleTime is how long carriers beyond the warm ones are kept when they have no streams.
	idleTime = 60 * time.Second
	// The pause after a dial that failed grows from the first to the last.
	dialPauseFirst = 500 * time.Millisecond
	dialPauseLast  = 30 * time.Second
)

// ErrNone says that no carrier is free.
var ErrNone = errors.New("no carrier is free")

// PoolConfig is what a Pool works with.
type PoolConfig struct {
	// Dial makes a connection to the peer, whose Server waits for it.
	Dial func(ctx context.Context) (net.Conn, error)
	Warm int // carriers without streams that are kept ready, at least 1
	Max  int // carriers at most
	// Failed, if not nil, is told about dials that failed. It must not block.
	Failed func(error)
}

// Pool keeps carriers of a gateway. Its methods may be called from several goroutines.
type Pool struct {
	cfg  PoolConfig
	wake chan struct{} // one token: look again

	mu      sync.Mutex
	on      bool
	over    bool
	came    chan struct{} // closed when a carrier has come
	members []*member     // the one used last comes last
	dials   int
}

// member is a carrier of the pool.
type member struct {
	*Conn
	used time.Time // when a stream was opened last, or it was made
}

// NewPool makes a Pool, which dials once Run runs and it was switched on.
func NewPool(cfg PoolConfig) *Pool {
	return &Pool{cfg: cfg, wake: make(chan struct{}, 1), came: make(chan struct{})}
}

// Switch switches the pool on or off. Off, it has no carrier without streams and opens no streams; those that are open go on.
func (p *Pool) Switch(on bool) {
	p.mu.Lock()
	p.on = on
	p.mu.Unlock()
	p.knock()
}

func (p *Pool) knock() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Open opens a stream on a carrier without streams, the one that was used last: its windows have grown. Without one it takes, if share is
// set, the carrier with the fewest streams of which none is a bulk transfer. ErrNone if there is none.
func (p *Pool) Open(target []byte, share bool) (*Stream, error) {
	defer p.knock()
	for {
		m := p.choose(share)
		if m == nil {
			return nil, ErrNone
		}
		s, err := m.Open(target)
		if err == nil {
			return s, nil
		}
		m.shut() // the next one may be well; Run joins this one
	}
}

// Await is Open that waits for a carrier, until ctx ends.
func (p *Pool) Await(ctx context.Context, target []byte, share bool) (*Stream, error) {
	for {
		p.mu.Lock()
		came := p.came
		p.mu.Unlock()
		s, err := p.Open(target, share)
		if !errors.Is(err, ErrNone) {
			return s, err
		}
		select {
		case <-came:
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (p *Pool) choose(share bool) *member {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.on || p.over {
		return nil
	}
	best, fewest := -1, shareLimit
	for i, m := range p.members {
		n, bulk := m.load()
		switch {
		case m.ended() || m.retired.Load():
		case n == 0:
			best, fewest = i, 0
		case share && !bulk && n < fewest:
			best, fewest = i, n
		}
	}
	if best < 0 {
		return nil
	}
	m := p.members[best]
	m.used = time.Now()
	p.members = append(slices.Delete(p.members, best, best+1), m)
	return m
}

func (c *Conn) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Conns lists the carriers, the one used last at the end.
func (p *Pool) Conns() []*Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*Conn
	for _, m := range p.members {
		if !m.ended() {
			out = append(out, m.Conn)
		}
	}
	return out
}

// Streams counts the streams of all carriers.
func (p *Pool) Streams() (n int) {
	for _, c := range p.Conns() {
		k, _ := c.load()
		n += k
	}
	return n
}

// idle lists the carriers without streams that may have some, the one used last at the end. Called with mu held.
func (p *Pool) idle() []*member {
	var out []*member
	for _, m := range p.members {
		if n, _ := m.load(); n == 0 && !m.ended() && !m.retired.Load() {
			out = append(out, m)
		}
	}
	return out
}

// Run keeps the pool as it should be until ctx ends. Then it closes all carriers and joins what it has started.
func (p *Pool) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer p.closeAll()
	pause, next := dialPauseFirst, time.Time{}
	type outcome struct {
		conn *Conn
		err  error
	}
	outcomes := make(chan outcome)
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-tick.C:
		case o := <-outcomes:
			p.mu.Lock()
			p.dials--
			p.mu.Unlock()
			switch {
			case o.err == nil:
				pause, next = dialPauseFirst, time.Time{}
				p.join(o.conn, &wg)
			case ctx.Err() == nil:
				next = time.Now().Add(pause)
				pause = min(2*pause, dialPauseLast)
				if p.cfg.Failed != nil {
					p.cfg.Failed(o.err)
				}
			}
		}
		p.retire()
		wait := time.Until(next)
		for wait <= 0 && p.dial() {
			wg.Go(func() { // joined by this call
				c, err := p.make(ctx)
				select {
				case outcomes <- outcome{c, err}:
				case <-ctx.Done():
					if c != nil {
						c.Close()
					}
				}
			})
		}
		if wait <= 0 {
			wait = idleTime / 4
		}
		tick.Reset(wait)
	}
}

func (p *Pool) make(ctx context.Context) (*Conn, error) {
	conn, err := p.cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return Client(conn)
}

// dial takes a place for a dial, if one more is wanted.
func (p *Pool) dial() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	want := p.on && len(p.idle())+p.dials < p.cfg.Warm && len(p.members)+p.dials < p.cfg.Max && p.dials < maxDials
	if want {
		p.dials++
	}
	return want
}

// join takes a new carrier in.
func (p *Pool) join(c *Conn, wg *sync.WaitGroup) {
	m := &member{c, time.Now()}
	p.mu.Lock()
	p.members = slices.Insert(p.members, 0, m) // those that have been used come first in turn
	close(p.came)
	p.came = make(chan struct{})
	p.mu.Unlock()
	wg.Go(func() { // ends with the carrier, which closeAll ends at the latest
		<-c.Done()
		c.Close()
		p.mu.Lock()
		p.members = slices.DeleteFunc(p.members, func(o *member) bool { return o == m })
		p.mu.Unlock()
		p.knock()
	})
}

// retire closes carriers that nobody needs: those that may have no streams, and of the others those that were used least recently first.
func (p *Pool) retire() {
	p.mu.Lock()
	idle := p.idle()
	keep := p.cfg.Warm
	if !p.on {
		keep = 0
	}
	var old []*member
	for _, m := range p.members {
		if n, _ := m.load(); n == 0 && m.retired.Load() && !m.ended() {
			old = append(old, m)
		}
	}
	for len(idle) > keep {
		if p.on && time.Since(idle[0].used) < idleTime {
			break
		}
		old, idle = append(old, idle[0]), idle[1:]
	}
	p.mu.Unlock()
	for _, m := range old {
		m.shut()
	}
}

func (p *Pool) closeAll() {
	p.mu.Lock()
	p.over = true
	all := slices.Clone(p.members)
	p.mu.Unlock()
	for _, m := range all {
		m.shut()
	}
}
