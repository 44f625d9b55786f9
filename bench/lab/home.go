package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Home is a home of many paths: relays, and a VPN over one of the uplinks.
//
//	                      198.18.(10+k).1 ──veth── 198.18.(10+k).2
//	exit (and internet)                            relay k, and the far end of the VPN: relay 0
//	gateway: 10.200.0.2 ═ VXLAN over uplink 0 ═══ 198.18.10.3: 10.200.0.1
//
// The exit's host routes between the uplinks and the relays, as the internet does. The VPN is a VXLAN, which every kernel has: unencrypted,
// with an MTU of 1450, and a default route of its own. It shares uplink 0 with the direct paths.
type Home struct {
	Relays int    // how many; at least 1
	Backup string // name of the uplink that is a backup; "" for none
	// Announce has the exit announce the relays to the kernel's MPTCP of the gateway.
	Announce bool
}

// vpnIf is the VPN's device at both ends.
const vpnIf = "vpn0"

// relayIf is the exit's end of the wire to relay k.
func relayIf(k int) string { return fmt.Sprintf("relay%d", k) }

// relayAddr is the address of relay k.
func relayAddr(k int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(10 + k), 2}) }

// wireHome adds relays and VPN to a network that is wired otherwise.
func (l *Lab) wireHome(ctx context.Context) error {
	for k, h := range l.Relays {
		near, far := relayAddr(k).Prev().String(), relayAddr(k).String()
		name := relayIf(k)
		steps := []struct {
			host  *Host
			steps []netStep
		}{
			{l.Exit, []netStep{{Do: "veth", Link: name, Peer: name, Pid: h.pid()}, addr(name, near+"/24"), up(name)}},
			{h, []netStep{addr(name, far+"/24"), up(name), {Do: "route", Via: near}, {Do: "running", Link: name}}},
		}
		for _, s := range steps {
			if err := s.host.net(ctx, s.steps...); err != nil {
				return err
			}
		}
	}
	jumpbox, home := relayAddr(0).Next(), GatewayAddr(0)
	if err := l.Relays[0].net(ctx, addr(relayIf(0), jumpbox.String()+"/32"), sysctl("net.ipv4.ip_forward", "1"),
		netStep{Do: "vxlan", Link: vpnIf, Addr: jumpbox.String(), Via: home.String()}, addr(vpnIf, "10.200.0.1/24"), up(vpnIf)); err != nil {
		return err
	}
	if err := l.Exit.net(ctx, netStep{Do: "route", Addr: "10.200.0.0/24", Via: jumpbox.String()}); err != nil {
		return err
	}
	// Its own packets go by uplink 0: that is a specific route, and, since a VXLAN's packets keep the mark of what is in them, a rule before
	// those of bondd.
	return l.Gateway.net(ctx, netStep{Do: "route", Addr: jumpbox.String() + "/32", Via: home.Prev().String()},
		netStep{Do: "rule", Addr: jumpbox.String() + "/32", Value: "to", Table: unix.RT_TABLE_MAIN, Prio: plainPriority - 1},
		netStep{Do: "vxlan", Link: vpnIf, Addr: home.String(), Via: jumpbox.String()}, addr(vpnIf, "10.200.0.2/24"), up(vpnIf),
		netStep{Do: "route", Via: "10.200.0.1", Metric: uplinkMetric + len(l.cfg.Uplinks)})
}

// relayList are the relays' addresses, quoted.
func (l *Lab) relayList() (list []string) {
	for k := range l.Relays {
		list = append(list, fmt.Sprintf("%q", relayAddr(k)))
	}
	return list
}

// announced are those that the exit announces.
func (l *Lab) announced() []string {
	if l.cfg.Home == nil || !l.cfg.Home.Announce {
		return nil
	}
	return l.relayList()
}

// homeConfig is what a gateway's configuration has beside the rest: tables, and a line for [exit].
func (l *Lab) homeConfig() (exit, tables string) {
	if l.cfg.Home == nil {
		return "", ""
	}
	exit = fmt.Sprintf("relays = [%s]\n", strings.Join(l.relayList(), ", "))
	for i, u := range l.cfg.Uplinks {
		tables += fmt.Sprintf("[[uplink]]\ninterface = %q\n", u.Name)
		if i == 0 {
			tables += "line = \"first\"\n"
		}
		if u.Name == l.cfg.Home.Backup {
			tables += "mode = \"backup\"\n"
		}
	}
	return exit, tables + fmt.Sprintf("[[uplink]]\ninterface = %q\nline = \"first\"\n", vpnIf)
}

// startRelays and stopRelays run bondd on the relays. They forward when startRelays returns.
func (l *Lab) startRelays(ctx context.Context) error {
	for _, h := range l.Relays {
		err := l.startDaemon(ctx, h, "", func(string) string {
			return fmt.Sprintf("role = \"relay\"\nexit.address = %q\n", remote(0))
		})
		if err != nil {
			return err
		}
	}
	for _, h := range l.Relays {
		if err := l.waitRelay(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

// waitRelay waits until a relay forwards: what the kernel is refused there while it is starting, it does not ask for again.
func (l *Lab) waitRelay(ctx context.Context, h *Host) error {
	for end := time.Now().Add(bondTimeout); ; {
		st, err := l.Status(ctx, h) // an error while it has no control socket yet
		if err == nil && st.Relay != nil && st.Relay.To.IsValid() {
			return nil
		}
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("%s does not forward within %v", h.name, bondTimeout), err)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func (l *Lab) stopRelays(ctx context.Context) error {
	var errs []error
	for _, h := range l.Relays {
		errs = append(errs, h.call(ctx, "daemon.stop", stopArgs{}, nil))
	}
	return errors.Join(errs...)
}
