package uplink

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// eventBuffer is the receive buffer asked for on the event socket, in bytes: a
// full routing table reloaded by a routing daemon is some ten thousand messages
// of about 100 bytes. An overflow is noticed (ENOBUFS) and only costs a look.
const eventBuffer = 1 << 20

// monitor is the netlink Monitor. One goroutine (read) receives events, is
// started by Watch and joined by Close.
type monitor struct {
	*debouncer
	reader *reader // takes the snapshots; owned by the caller of Next
	events *nl.NetlinkSocket
	joined sync.WaitGroup
	once   sync.Once

	closing atomic.Bool // set before the socket is closed

	taking sync.Mutex // held while a snapshot is taken, and by Close

	mu      sync.Mutex
	watched map[int32]Uplink // as reported last, by interface number; guarded by mu
}

// Watch starts a Monitor in the network namespace of the calling thread. It
// needs no rights. Close releases two sockets and a goroutine.
func Watch(o WatchOptions) (Monitor, error) {
	// Subscribing comes before the first look, so that nothing falls in between.
	events, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, explain("watch interfaces by netlink", err)
	}
	if events.SetReceiveBufferSize(eventBuffer, true) != nil {
		// Without the right to force it the kernel gives what net.core.rmem_max
		// allows, and an overflow is handled.
		_ = events.SetReceiveBufferSize(eventBuffer, false)
	}
	r, err := newReader(o)
	if err != nil {
		events.Close()
		return nil, err
	}
	m := &monitor{reader: r, events: events}
	m.debouncer = newDebouncer(m.snapshot)
	m.joined.Go(m.read) // joined by Close
	return m, nil
}

// Next implements Monitor.
func (m *monitor) Next(ctx context.Context) (Snapshot, error) { return m.next(ctx) }

// SetOptions implements Monitor.
func (m *monitor) SetOptions(o WatchOptions) {
	m.taking.Lock()
	m.reader.opts = o
	m.taking.Unlock()
	hint(m.normal)
}

// Close implements Monitor.
func (m *monitor) Close() error {
	m.once.Do(func() {
		m.closing.Store(true)
		m.events.Close() // ends read
		m.joined.Wait()
		m.taking.Lock()
		defer m.taking.Unlock()
		m.reader.close()
	})
	return nil
}

// snapshot looks and remembers what there is to lose from now on.
func (m *monitor) snapshot() (Snapshot, error) {
	m.taking.Lock()
	defer m.taking.Unlock()
	select {
	case <-m.done:
		return Snapshot{}, m.err
	default:
	}
	s, err := m.reader.snapshot()
	if err != nil {
		return Snapshot{}, err
	}
	watched := make(map[int32]Uplink, len(s.Uplinks))
	for _, u := range s.Uplinks { // next hops on one interface are lost together
		u.Addrs = slices.Concat(u.Addrs, watched[int32(u.Ifindex)].Addrs)
		watched[int32(u.Ifindex)] = u
	}
	m.mu.Lock()
	m.watched = watched
	m.mu.Unlock()
	return s, nil
}

// read turns netlink messages into hints until the socket is closed.
func (m *monitor) read() {
	defer close(m.done)
	for {
		msgs, _, err := m.events.Receive()
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOBUFS):
			hint(m.urgent) // events were lost; the picture itself was not
			continue
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case m.closing.Load():
			m.err = ErrClosed
			return
		default:
			m.err = fmt.Errorf("watching interfaces by netlink: %w", err)
			return
		}
		for _, msg := range msgs {
			switch m.classify(msg) {
			case eventLoss:
				hint(m.urgent)
			case eventChange:
				hint(m.normal)
			}
		}
	}
}

type event uint8

const (
	eventNone   event = iota // does not concern uplinks
	eventChange              // something may have come or changed
	eventLoss                // an uplink lost its link or an address
)

// classify looks at as little as it can: the snapshot decides what is true. A
// loss is one of what was reported last; later messages on the same are none.
// A removed default route is a change, not a loss: DHCP clients remove and add
// it in one go, and a path must not be torn down for that.
func (m *monitor) classify(msg syscall.NetlinkMessage) event {
	switch msg.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(msg.Data) < unix.SizeofIfInfomsg {
			return eventNone
		}
		info := nl.DeserializeIfInfomsg(msg.Data)
		lost := msg.Header.Type == unix.RTM_DELLINK || !running(info.Flags)
		if u, ok := m.reported(info.Index); ok && lost && u.Up {
			return eventLoss
		}
		return eventChange
	case unix.RTM_NEWADDR:
		return eventChange
	case unix.RTM_DELADDR:
		if len(msg.Data) < unix.SizeofIfAddrmsg {
			return eventNone
		}
		info := nl.DeserializeIfAddrmsg(msg.Data)
		if u, ok := m.reported(int32(info.Index)); ok && slices.ContainsFunc(u.Addrs, removedBy(msg.Data)) {
			return eventLoss
		}
		return eventChange
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if len(msg.Data) < unix.SizeofRtMsg {
			return eventNone
		}
		if r := nl.DeserializeRtMsg(msg.Data); r.Dst_len == 0 && r.Table == unix.RT_TABLE_MAIN {
			return eventChange
		}
	}
	return eventNone
}

// removedBy tells of an address whether the address message names it.
func removedBy(data []byte) func(netip.Prefix) bool {
	attrs, err := nl.ParseRouteAttr(data[unix.SizeofIfAddrmsg:])
	return func(p netip.Prefix) bool {
		return err == nil && slices.ContainsFunc(attrs, func(a syscall.NetlinkRouteAttr) bool {
			t := a.Attr.Type
			return (t == unix.IFA_LOCAL || t == unix.IFA_ADDRESS) && toAddr(a.Value) == p.Addr()
		})
	}
}

func (m *monitor) reported(ifindex int32) (Uplink, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, ok := m.watched[ifindex]
	return u, ok
}

// running tells whether the link is up and carries: netlink's IFF_RUNNING is
// the operational state (RFC 2863), "unknown" included.
func running(flags uint32) bool {
	return flags&unix.IFF_UP != 0 && flags&unix.IFF_RUNNING != 0
}
