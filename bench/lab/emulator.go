package lab

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bondd/bondd/bench/link"
)

// packetRoom is the room for one packet: an uplink's MTU is at most 1500.
const packetRoom = 2048

// packet is what travels through a link.
type packet struct {
	n    int
	data [packetRoom]byte
}

// direction is one link between two TUN devices.
type direction struct {
	from, to int // file descriptors
	link     *link.Link[*packet]
	strip    bool   // MPTCP options are removed
	noUDP    bool   // UDP is dropped
	failed   uint64 // writes the kernel refused
}

// emulator moves packets between TUN devices through links, in real time. One
// goroutine does all: it reads what is ready, hands it to the links, sleeps
// until the next delivery is due, and writes what is due.
type emulator struct {
	dirs  []*direction // 2i: uplink i up, 2i+1: down
	wake  int          // eventfd: work is waiting
	begin time.Duration

	mu   sync.Mutex // guards work
	work []func(now time.Duration)

	late lateness // owned by the goroutine, as all of dirs, from here on
	free []*packet
}

// newEmulator takes the file descriptors, the gateway's and the exit's end of
// each uplink, and starts the goroutine, which ends only with the process.
func newEmulator(uplinks []Uplink, fds [][2]int, seed uint64) (*emulator, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make the emulator's eventfd: %w", err)
	}
	e := &emulator{wake: wake, begin: Now()}
	for i, u := range uplinks {
		for d := range 2 {
			if err := unix.SetNonblock(fds[i][d], true); err != nil {
				return nil, fmt.Errorf("uplink %s: %w", u.Name, err)
			}
			rng := rand.New(rand.NewPCG(seed, uint64(2*i+d)))
			e.dirs = append(e.dirs, &direction{from: fds[i][d], to: fds[i][1-d], link: link.New[*packet](u.Link, rng)})
		}
	}
	for range freeAtFirst {
		e.free = append(e.free, new(packet))
	}
	go e.run()
	return e, nil
}

// freeAtFirst is the number of packets made beforehand: 300 ms of 100 Mb/s.
const freeAtFirst = 2500

// run is the emulator's goroutine.
func (e *emulator) run() {
	polls := make([]unix.PollFd, len(e.dirs)+1)
	for i, d := range e.dirs {
		polls[i] = unix.PollFd{Fd: int32(d.from), Events: unix.POLLIN}
	}
	polls[len(e.dirs)] = unix.PollFd{Fd: int32(e.wake), Events: unix.POLLIN}
	for {
		next := e.deliver()
		var timeout *unix.Timespec // nil: until something is ready
		if next != link.Never {
			ts := unix.NsecToTimespec(int64(max(0, next-e.now())))
			timeout = &ts
		}
		n, err := unix.Ppoll(polls, timeout, nil)
		if err != nil || n <= 0 {
			continue // EINTR, or the next delivery is due
		}
		for i, d := range e.dirs {
			switch {
			case polls[i].Revents&unix.POLLIN != 0:
				e.accept(d)
			case polls[i].Revents != 0: // the device is gone, with its host
				polls[i].Fd = -1
			}
		}
		if polls[len(e.dirs)].Revents != 0 {
			e.obey()
		}
	}
}

// now is the time base of the links.
func (e *emulator) now() time.Duration { return Now() - e.begin }

// acceptBatch bounds what is read from one device before the others and the
// deliveries get their turn.
const acceptBatch = 32

// accept reads what is ready and hands it to the link.
func (e *emulator) accept(d *direction) {
	for range acceptBatch {
		p := e.get()
		n, err := unix.Read(d.from, p.data[:])
		if err != nil || n <= 0 {
			e.free = append(e.free, p)
			return
		}
		p.n = n
		if d.strip {
			stripMPTCP(p.data[:n])
		}
		if d.noUDP && isUDP(p.data[:n]) || !d.link.Send(e.now(), n, p).Accepted() {
			e.free = append(e.free, p)
		}
	}
}

// deliver writes all that is due and returns the instant of the next delivery.
func (e *emulator) deliver() time.Duration {
	next := link.Never
	for _, d := range e.dirs {
		for {
			due := d.link.Next()
			now := e.now()
			if due > now {
				next = min(next, due)
				break
			}
			p, ok := d.link.Receive(now)
			if !ok {
				break
			}
			e.late.add(now - due)
			if _, err := unix.Write(d.to, p.data[:p.n]); err != nil {
				d.failed++ // the interface is down: nobody is there to receive
			}
			e.free = append(e.free, p)
		}
	}
	return next
}

// get takes a packet from the free ones. Packets that an outage swallowed are
// simply made anew.
func (e *emulator) get() *packet {
	if n := len(e.free); n > 0 {
		p := e.free[n-1]
		e.free = e.free[:n-1]
		return p
	}
	return new(packet)
}

// obey runs what do has handed over.
func (e *emulator) obey() {
	var b [8]byte
	unix.Read(e.wake, b[:])
	e.mu.Lock()
	work := e.work
	e.work = nil
	e.mu.Unlock()
	for _, f := range work {
		f(e.now())
	}
}

// do runs f on the emulator's goroutine and waits for it.
func (e *emulator) do(f func(now time.Duration)) {
	ran := make(chan struct{})
	e.mu.Lock()
	e.work = append(e.work, func(now time.Duration) { f(now); close(ran) })
	e.mu.Unlock()
	unix.Write(e.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // an eventfd takes it, or is set already
	<-ran
}

// lateness counts how late deliveries were, in steps of 10 µs.
type lateness struct {
	count [1024]uint64 // the last: 10.23 ms and beyond
	total uint64
}

const latenessStep = 10 * time.Microsecond

func (l *lateness) add(d time.Duration) {
	i := min(int(max(0, d)/latenessStep), len(l.count)-1)
	l.count[i]++
	l.total++
}

// quantile is the upper edge of the step that holds the share q.
func (l *lateness) quantile(q float64) time.Duration {
	want := uint64(q * float64(l.total))
	var sum uint64
	for i, n := range l.count {
		sum += n
		if sum > want || sum == l.total {
			return time.Duration(i+1) * latenessStep
		}
	}
	return 0
}
