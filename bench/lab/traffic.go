package lab

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// trafficPort is where a serving host listens, TCP and UDP.
const trafficPort = 5201

// traffic is the traffic generator of one host. The host that serves waits
// for connections and requests; the one that runs makes them: the client may
// stand behind address translation, so it speaks first, and its first words
// say in which direction the bytes are to go.
type traffic struct {
	mu   sync.Mutex
	runs map[uint64]*run // by the number the client chose
}

// run is what the serving host keeps of one run until it is collected.
type run struct {
	mu       sync.Mutex
	series   Series
	flows    []FlowResult
	conns    []*net.TCPConn
	sent     int            // UDP down: datagrams sent
	received udpRecord      // UDP up
	busy     sync.WaitGroup // the TCP flows under way
}

// join counts a TCP connection in.
func (r *run) join(conn *net.TCPConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, conn)
	r.busy.Add(1)
}

func newTraffic() *traffic { return &traffic{runs: map[uint64]*run{}} }

func (t *traffic) run(id uint64) *run {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.runs[id]
	if r == nil {
		r = &run{}
		t.runs[id] = r
	}
	return r
}

// take removes a run.
func (t *traffic) take(id uint64) (*run, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.runs[id]
	delete(t.runs, id)
	if r == nil {
		return nil, errors.New("no flow of this run has reached the server")
	}
	return r, nil
}

type collectArgs struct {
	Run uint64 `json:"run"`
}

// serve opens the listeners, for both address families. They stay until the
// process ends, as do the goroutines that serve them.
func (t *traffic) serve(context.Context, struct{}) (struct{}, error) {
	ln, err := net.Listen("tcp", ":"+strconv.Itoa(trafficPort)) // both families, where there are two
	if err != nil {
		return struct{}{}, err
	}
	go t.serveTCP(ln.(*net.TCPListener))
	for _, network := range []string{"udp4", "udp6"} {
		if network == "udp6" && !haveIPv6() {
			break
		}
		pc, err := net.ListenUDP(network, &net.UDPAddr{Port: trafficPort})
		if err != nil {
			return struct{}{}, err
		}
		go t.serveUDP(pc)
	}
	return struct{}{}, nil
}

// setCongestion selects the congestion control of a TCP socket: it decides the
// outcome more than anything else, and defaults differ from system to system.
func setCongestion(c syscall.RawConn, name string) error {
	if name == "" {
		return nil
	}
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
	}); e != nil {
		return e
	}
	if err != nil {
		return errors.New("congestion control " + name + ": " + err.Error())
	}
	return nil
}

func target(addr netip.Addr) netip.AddrPort { return netip.AddrPortFrom(addr, trafficPort) }
