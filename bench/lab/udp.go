package lab

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// UDPSpec asks for datagrams at a constant rate.
type UDPSpec struct {
	Source   netip.Addr    `json:"source"`
	Server   netip.Addr    `json:"server"`
	Up       bool          `json:"up"`
	Size     int           `json:"size"` // IP bytes of a packet, 64..1500
	Mbps     float64       `json:"mbps"` // of IP bytes
	Duration time.Duration `json:"duration"`
	// Linger is how long the receiver waits for what still stands in queues.
	Linger time.Duration `json:"linger"`
}

// UDPResult is what became of them.
type UDPResult struct {
	Sent      int             `json:"sent"`
	Received  int             `json:"received"`  // different ones
	Duplicate int             `json:"duplicate"` // seen again
	Reordered int             `json:"reordered"` // arrived behind one that was sent later
	Delays    []time.Duration `json:"delays"`    // one-way, of those received first, in order of arrival
	Arrived   Series          `json:"arrived"`   // IP bytes
}

// Loss is the share that did not arrive.
func (r UDPResult) Loss() float64 {
	if r.Sent == 0 {
		return 0
	}
	return 1 - float64(r.Received)/float64(r.Sent)
}

type udpArgs struct {
	UDPSpec
	Run uint64 `json:"run"`
}

// udpHello is the datagram that opens a run, in JSON behind a zero byte; all
// others begin with udpData.
type udpHello struct {
	UDPSpec
	Run    uint64        `json:"run"`
	Origin time.Duration `json:"origin"`
}

// A data datagram: one byte udpData, the run (8 bytes), the number (4 bytes),
// the instant of sending (8 bytes, Now in ns), and filling.
const (
	udpData    = 1
	udpHeader  = 1 + 8 + 4 + 8
	udpBuffer  = 4 << 20 // bytes of socket buffer: what a busy receiver may fall behind
	udpRetries = 10
)

// udpRecord collects what a receiver sees.
type udpRecord struct {
	UDPResult
	seen []bool
	high int
}

func (r *udpRecord) add(seq int, delay time.Duration, at time.Duration, ipBytes int) {
	if seq >= 10_000_000 {
		return // not one of ours
	}
	for seq >= len(r.seen) {
		r.seen = append(r.seen, make([]bool, len(r.seen)+1024)...)
	}
	if r.seen[seq] {
		r.Duplicate++
		return
	}
	r.seen[seq] = true
	r.Received++
	if seq < r.high {
		r.Reordered++
	}
	r.high = max(r.high, seq)
	r.Delays = append(r.Delays, delay)
	r.Arrived.Add(at, ipBytes)
}

// overheadOf is the size of IP and UDP headers towards an address.
func overheadOf(addr netip.Addr) int {
	if addr.Unmap().Is4() {
		return 28
	}
	return 48
}

// udpRun sends (up) or asks for (down) the datagrams.
func (t *traffic) udpRun(_ context.Context, a udpArgs) (UDPResult, error) {
	var local *net.UDPAddr
	if a.Source.IsValid() {
		local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Source, 0))
	}
	conn, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(target(a.Server)))
	if err != nil {
		return UDPResult{}, err
	}
	defer conn.Close()
	if err := stampArrivals(conn); err != nil {
		return UDPResult{}, err
	}
	origin := Now()
	hello, err := json.Marshal(udpHello{UDPSpec: a.UDPSpec, Run: a.Run, Origin: origin})
	if err != nil {
		return UDPResult{}, err
	}
	hello = append([]byte{0}, hello...)
	if a.Up {
		if _, err := conn.Write(hello); err != nil {
			return UDPResult{}, err
		}
		return UDPResult{Sent: sendUDP(a.UDPSpec, a.Run, func(b []byte) { conn.Write(b) })}, nil
	}
	var rec udpRecord
	rec.Arrived.Origin = origin
	first := make([]byte, 2048)
	oob := make([]byte, 256)
	for try := 0; ; try++ { // until the first datagram comes: the hello may be lost
		if try == udpRetries {
			return UDPResult{}, errors.New("the server does not answer")
		}
		if _, err := conn.Write(hello); err != nil {
			return UDPResult{}, err
		}
		conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, oobn, _, from, err := conn.ReadMsgUDPAddrPort(first, oob)
		if err == nil {
			rec.take(first[:n], oob[:oobn], a.Run, overheadOf(from.Addr()))
			break
		}
	}
	conn.SetReadDeadline(time.Now().Add(a.Duration + a.Linger))
	for {
		n, oobn, _, from, err := conn.ReadMsgUDPAddrPort(first, oob)
		if err != nil {
			break
		}
		rec.take(first[:n], oob[:oobn], a.Run, overheadOf(from.Addr()))
	}
	return rec.UDPResult, nil
}

// take adds one datagram.
func (r *udpRecord) take(b, oob []byte, run uint64, overhead int) {
	if len(b) < udpHeader || b[0] != udpData || binary.BigEndian.Uint64(b[1:]) != run {
		return
	}
	at := arrival(oob)
	seq := int(binary.BigEndian.Uint32(b[9:]))
	r.add(seq, at-time.Duration(binary.BigEndian.Uint64(b[13:])), at, len(b)+overhead)
}

// sendUDP sends at a constant rate, and returns the number of datagrams. It has
// a thread of its own: a sender that waits for a busy processor would measure
// that instead of the line.
func sendUDP(spec UDPSpec, run uint64, send func([]byte)) int {
	sent := make(chan int)
	go func() {
		runtime.LockOSThread() // never unlocked: the priority dies with the thread
		exactTimers()
		urgent(unix.SCHED_FLAG_RESET_ON_FORK)
		sent <- sendPaced(spec, run, send)
	}()
	return <-sent
}

func sendPaced(spec UDPSpec, run uint64, send func([]byte)) int {
	size := max(spec.Size-overheadOf(spec.Server), udpHeader)
	b := make([]byte, size)
	b[0] = udpData
	binary.BigEndian.PutUint64(b[1:], run)
	gap := float64(size+overheadOf(spec.Server)) * 8 / (spec.Mbps * 1e6) * float64(time.Second)
	begin := Now()
	for n := 0; ; n++ {
		due := time.Duration(float64(n) * gap)
		if due >= spec.Duration {
			return n
		}
		sleepUntil(begin + due)
		binary.BigEndian.PutUint32(b[9:], uint32(n))
		binary.BigEndian.PutUint64(b[13:], uint64(Now()))
		send(b)
	}
}

// serveUDP answers hellos and records data for as long as the process lives.
func (t *traffic) serveUDP(conn *net.UDPConn) {
	if err := stampArrivals(conn); err != nil {
		return
	}
	b, oob := make([]byte, 2048), make([]byte, 256)
	for {
		n, oobn, _, from, err := conn.ReadMsgUDPAddrPort(b, oob)
		if err != nil {
			return
		}
		if n >= udpHeader && b[0] == udpData {
			id := binary.BigEndian.Uint64(b[1:])
			r := t.run(id)
			r.mu.Lock()
			r.received.take(b[:n], oob[:oobn], id, overheadOf(from.Addr()))
			r.mu.Unlock()
			continue
		}
		var hello udpHello
		if n < 2 || b[0] != 0 || json.Unmarshal(b[1:n], &hello) != nil {
			continue
		}
		r := t.run(hello.Run)
		r.mu.Lock()
		r.received.Arrived.Origin = hello.Origin
		begin := !hello.Up && r.sent == 0
		if begin {
			r.sent = -1 // a repeated hello starts no second sender
		}
		r.mu.Unlock()
		if begin {
			go func() { // ends with the run's duration
				sent := sendUDP(hello.UDPSpec, hello.Run, func(b []byte) { conn.WriteToUDPAddrPort(b, from) })
				r.mu.Lock()
				r.sent = sent
				r.mu.Unlock()
			}()
		}
	}
}

// udpCollect returns the server's half: what it received (up), or how many it
// sent (down).
func (t *traffic) udpCollect(_ context.Context, a collectArgs) (UDPResult, error) {
	run, err := t.take(a.Run)
	if err != nil {
		return UDPResult{}, err
	}
	run.mu.Lock()
	defer run.mu.Unlock()
	res := run.received.UDPResult
	res.Sent = max(run.sent, 0)
	return res, nil
}

// stampArrivals asks for the kernel's receive timestamps and a large buffer.
func stampArrivals(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var opt error
	if err := raw.Control(func(fd uintptr) {
		opt = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, udpBuffer) != nil {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, udpBuffer)
		}
	}); err != nil {
		return err
	}
	if opt != nil {
		return fmt.Errorf("receive timestamps: %w", opt)
	}
	return nil
}

// arrival is the instant (Now) at which the kernel received a message that is
// being read now, by its timestamp. The timestamp is of CLOCK_REALTIME, which may
// be set at any moment; so only its distance from now is taken.
func arrival(oob []byte) time.Duration {
	now := Now()
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPNS && len(data) >= 16 {
			sec := int64(binary.NativeEndian.Uint64(data))
			nsec := int64(binary.NativeEndian.Uint64(data[8:]))
			waited := time.Duration(time.Now().UnixNano() - sec*1e9 - nsec)
			if waited > 0 && waited < time.Second {
				return now - waited
			}
		}
		oob = rest
	}
	return now
}
