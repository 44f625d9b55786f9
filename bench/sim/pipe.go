package sim

import (
	"time"

	"github.com/bondd/bondd/tunnel/buf"
)

// pipe is a line without a limit, between exit and server.
type pipe struct {
	w     *world
	delay time.Duration
	timer actor
	queue []piped
	out   func(now time.Duration, bufs []*buf.Buf)
	batch []*buf.Buf
}

type piped struct {
	at  time.Duration
	buf *buf.Buf
}

func (r *Run) addPipes() {
	for i := range r.pipes {
		p := &r.pipes[i]
		p.w, p.delay = r.w, r.sc.ServerDelay
		p.out = r.w.server.receive
		if i == 1 {
			p.out = func(now time.Duration, bufs []*buf.Buf) { r.enter(now, r.exit, bufs) }
		}
		p.timer = r.w.add("server line", p.fire)
	}
}

func (p *pipe) put(now time.Duration, bufs []*buf.Buf) {
	for _, b := range bufs {
		p.queue = append(p.queue, piped{now + p.delay, b})
	}
	p.w.set(p.timer, p.queue[0].at)
}

func (p *pipe) fire(now time.Duration) {
	p.batch = p.batch[:0]
	n := 0
	for n < len(p.queue) && p.queue[n].at <= now {
		p.batch = append(p.batch, p.queue[n].buf)
		n++
	}
	p.queue = append(p.queue[:0], p.queue[n:]...)
	if len(p.queue) > 0 {
		p.w.set(p.timer, p.queue[0].at)
	}
	p.out(now, p.batch)
}
