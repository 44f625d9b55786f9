package endpoints

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/endpoints/intercept"
	"github.com/bondd/bondd/endpoints/uplink"
)

// listenTCP opens the listener of a proxy. The unspecified IPv6 address serves both families, or IPv4 alone where there
// is no IPv6.
func listenTCP(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	address := at.String()
	if at.Addr() == netip.IPv6Unspecified() {
		address = ":" + strconv.Itoa(int(at.Port()))
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}

// listenUnix opens the control socket, which only the owner may use. A socket file nobody answers on is what a
// crashed predecessor left, and is replaced.
func listenUnix(path string) (net.Listener, error) {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return nil, fmt.Errorf("control socket %s: %w", path, uplink.ErrBusy)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		os.Remove(path)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	// Between listen and chmod the file has the mode of the umask; the server does not accept yet.
	if err := os.Chmod(path, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// dialTCP connects to a remote by one uplink.
func dialTCP(ctx context.Context, from uplink.Uplink, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{Control: from.Control}
	d.SetMultipathTCP(false) // one short exchange over one chosen uplink
	if source := sourceOf(from, to.Addr()); source.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: source.AsSlice(), Zone: source.Zone()}
	}
	return d.DialContext(ctx, "tcp", to.String())
}

// dialPlain connects by whatever way the machine has.
func dialPlain(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	d.SetMultipathTCP(false) // what passes is sealed and has its own paths
	return d.DialContext(ctx, "tcp", to.String())
}

// sourceOf is the address an uplink sends from towards a remote; zero if it has none of that family.
func sourceOf(u uplink.Uplink, remote netip.Addr) netip.Addr {
	if remote.Is4() {
		return u.Source4
	}
	return u.Source6
}

// openIntercept opens the real interception.
func openIntercept(c intercept.Config) (interceptor, error) {
	i, err := intercept.Open(c)
	if err != nil {
		return nil, err
	}
	return realInterceptor{i}, nil
}

type realInterceptor struct{ *intercept.Interceptor }

func (r realInterceptor) Accept() (dial.Conn, uint8, netip.AddrPort, error) {
	c, err := r.Interceptor.Accept()
	if err != nil {
		return nil, 0, netip.AddrPort{}, err // never an interface around a nil pointer
	}
	return c.Conn, c.Exit, c.Target, nil
}

// resolveTime bounds the look-up of a name over one uplink: two tries of the resolver's 5 s would hold up the hello by the
// others for longer than they need.
const resolveTime = 3 * time.Second

// resolve looks up the addresses of an exit's name. The questions leave by an uplink, never by the bond, which does
// not exist yet; name servers on this machine are asked directly and find their own way.
func resolve(ctx context.Context, from []uplink.Uplink, name string) ([]netip.Addr, error) {
	var errs []error
	for _, u := range from {
		if !u.Usable4() && !u.Usable6() {
			continue
		}
		addrs, err := resolveBy(ctx, u, name)
		if err == nil {
			return addrs, nil
		}
		errs = append(errs, fmt.Errorf("by %s: %w", u.Name, err))
	}
	if len(errs) == 0 {
		errs = append(errs, errors.New("no uplink is usable"))
	}
	return nil, errors.Join(errs...)
}

func resolveBy(ctx context.Context, u uplink.Uplink, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		d := net.Dialer{Control: u.Control}
		if at, err := netip.ParseAddrPort(address); err == nil && at.Addr().IsLoopback() {
			d.Control = nil
		}
		return d.DialContext(ctx, network, address)
	}}
	addrs, err := r.LookupNetIP(ctx, "ip", name)
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return addrs, err
}
