package live

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bondd/bondd/endpoints"
	"github.com/bondd/bondd/endpoints/intercept"
)

// Services that can be measured.
var Services = []string{"packet", "stream"}

// Options say what to measure.
type Options struct {
	Control    string // path of the gateway's control socket
	Services   []string
	Directions []string
	Flows      int
	Duration   time.Duration // of each transfer; at most endpoints.BenchTime
	Metered    bool          // metered uplinks may be used
	Alone      bool          // each uplink by itself first
}

// Transfer is one service in one direction. Rates are in Mb/s; the bond's of
// payload, the uplinks' of datagrams.
type Transfer struct {
	Service   string   `json:"service"`
	Direction string   `json:"direction"`
	Alone     string   `json:"alone,omitempty"` // the uplink that was used by itself
	Flows     int      `json:"flows"`
	Mbps      *float64 `json:"bond_mbps,omitempty"` // or of the uplink alone
	Busy      float64  `json:"processors_busy"`     // share of the gateway's processors, 0 to 1
	Uplinks   []Uplink `json:"uplinks,omitempty"`
	Error     string   `json:"error,omitempty"`
}

// Uplink is what one uplink did during a transfer.
type Uplink struct {
	Name    string   `json:"name"`
	State   string   `json:"state"`
	Carried float64  `json:"carried_mbps"`
	Rate    *float64 `json:"rate_mbps,omitempty"` // up: what its congestion controller takes it for
	RTT     float64  `json:"rtt_ms"`
	Lost    *float64 `json:"lost,omitempty"` // up: share of datagrams, 0 to 1
}

// ErrMetered: an uplink is metered, and nobody has said that it may be used.
var ErrMetered = errors.New("a metered uplink would carry the measurement")

// Measure takes the transfers one after the other. What cannot be measured says
// so in its Error; an error is returned where nothing can.
func Measure(ctx context.Context, o Options, progress io.Writer) ([]Transfer, error) {
	st, err := endpoints.ReadStatus(ctx, o.Control)
	if err != nil {
		return nil, err
	}
	exit, err := o.check(st)
	if err != nil {
		return nil, err
	}
	m := &measurement{o, exit}
	var out []Transfer
	if names := lone(st); o.Alone && names != nil {
		if out, err = m.alone(ctx, names, progress); err != nil {
			return out, err
		}
	}
	for _, service := range o.Services {
		for _, direction := range o.Directions {
			if ctx.Err() != nil {
				return out, context.Cause(ctx)
			}
			t := Transfer{Service: service, Direction: direction, Flows: o.Flows}
			if why := st.Streams; service == "stream" && (why == nil || why.Interception != "on") {
				t.Error = "the gateway does not intercept, so its connections do not become streams"
			} else {
				m.take(ctx, &t, progress)
			}
			out = append(out, t)
		}
	}
	return out, nil
}

// measurement is what all transfers have in common.
type measurement struct {
	Options
	exit netip.AddrPort // the target
}

// take makes one transfer and says how it went.
func (m *measurement) take(ctx context.Context, t *Transfer, progress io.Writer) {
	if err := m.transfer(ctx, t, m.exit); err != nil {
		t.Error = err.Error()
		return
	}
	fmt.Fprintf(progress, "%s: %.1f Mb/s\n", t, *t.Mbps)
}

// String names the transfer.
func (t *Transfer) String() string {
	if t.Alone != "" {
		return t.Alone + " alone, " + t.Direction
	}
	return t.Service + ", " + t.Direction
}

// check refuses what should not or cannot be measured, and returns the address of
// the exit's target.
func (o Options) check(st *endpoints.Status) (netip.AddrPort, error) {
	if st.Role != "gateway" {
		return netip.AddrPort{}, fmt.Errorf("this is an %s; measure on the gateway", st.Role)
	}
	if st.State != "up" || len(st.Sessions) == 0 {
		return netip.AddrPort{}, fmt.Errorf("the bond is %s; it has to be up", st.State)
	}
	if !st.Sessions[0].Bench.IsValid() {
		return netip.AddrPort{}, errors.New("the exit serves no measurements; its configuration has to say bench = true in [stream]")
	}
	for _, u := range st.Uplinks {
		if u.Metered && u.Up && !o.Metered {
			transfers := time.Duration(len(o.Services) * len(o.Directions))
			if o.Alone && slices.Contains(lone(st), u.Name) {
				transfers += time.Duration(len(o.Directions))
			}
			return netip.AddrPort{}, fmt.Errorf("%w: %s, for up to %v at full speed; --metered allows it, and \"bondd path %s down\" keeps it out",
				ErrMetered, u.Name, transfers*o.Duration, u.Name)
		}
	}
	return st.Sessions[0].Bench, nil
}

// transfer takes one.
func (o Options) transfer(ctx context.Context, t *Transfer, exit netip.AddrPort) error {
	before, err := o.snapshot(ctx)
	if err != nil {
		return err
	}
	var (
		wg    sync.WaitGroup
		rates = make([]float64, o.Flows)
		errs  = make([]error, o.Flows)
	)
	for i := range o.Flows {
		wg.Go(func() { rates[i], errs[i] = o.flow(ctx, t, exit) })
	}
	// The estimates are of the moment: read them while the transfer runs.
	timer := time.NewTimer(o.Duration * 9 / 10)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	after, err := o.snapshot(ctx)
	wg.Wait()
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}
	sum := 0.0
	for _, r := range rates {
		sum += r
	}
	t.Mbps = &sum
	t.compare(before, after)
	return nil
}

// flow is one connection. It returns Mb/s at the receiver, from the first byte to
// the last.
func (o Options) flow(ctx context.Context, t *Transfer, exit netip.AddrPort) (float64, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	d.SetMultipathTCP(false)
	if t.Service == "packet" {
		mark := intercept.MarkSocket // as a variable: the constant would not fit an int of 32 bits
		d.Control = func(_, _ string, c syscall.RawConn) (err error) {
			if e := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(int32(mark)))
			}); e != nil {
				return e
			}
			return err
		}
	}
	c, err := d.DialContext(ctx, "tcp", exit.String())
	if err != nil {
		return 0, fmt.Errorf("the exit's bench target: %w", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := c.SetDeadline(time.Now().Add(o.Duration + 20*time.Second)); err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintf(c, "%s %d\n", t.Direction, int((o.Duration+time.Second-1)/time.Second)); err != nil {
		return 0, err
	}
	if t.Direction == "down" {
		return receive(c)
	}
	return send(c.(*net.TCPConn), o.Duration)
}

const chunk = 64 << 10 // bytes per read or write

// receive reads to the end.
func receive(c net.Conn) (float64, error) {
	buf := make([]byte, chunk)
	var total int64
	var first, last time.Time
	for {
		n, err := c.Read(buf)
		if n > 0 {
			if last = time.Now(); total == 0 {
				first = last
			}
			total += int64(n)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("after %d bytes: %w", total, err)
		}
	}
	if total == 0 {
		return 0, errors.New("the exit sent nothing; it serves 16 measurements at a time")
	}
	return mbps(total, last.Sub(first)), nil
}

// send writes for d, and asks what has arrived.
func send(c *net.TCPConn, d time.Duration) (float64, error) {
	buf := make([]byte, chunk)
	for end := time.Now().Add(d); time.Now().Before(end); {
		if _, err := c.Write(buf); err != nil {
			return 0, err
		}
	}
	if err := c.CloseWrite(); err != nil {
		return 0, err
	}
	var total, ms int64
	if _, err := fmt.Fscanf(bufio.NewReader(c), "%d %d\n", &total, &ms); err != nil {
		return 0, fmt.Errorf("the exit does not say what has arrived: %w", err)
	}
	return mbps(total, time.Duration(ms)*time.Millisecond), nil
}

func mbps(bytes int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(bytes) * 8 / d.Seconds() / 1e6
}

// uplinkOf is the uplink of a path: its name has the remote behind a ">" where
// there are several.
func uplinkOf(path string) string {
	name, _, _ := strings.Cut(path, ">")
	return name
}
