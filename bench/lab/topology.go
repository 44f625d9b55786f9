package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/bondd/bondd/bench/link"
)

// Uplink is one emulated line between gateway and exit.
type Uplink struct {
	Name string      // of the interface, at both ends; at most 15 bytes
	Link link.Config // each direction
}

// The network of a lab. Every uplink i has a subnet of its own and is a default
// route of the gateway; each remote of the exit is an address that any uplink
// reaches. Dotted: the plain route of uplink i, which bondd has no part in. A
// packet from the LAN's address 10.99.i.2 takes it.
//
//	lan                 gateway                     exit                 server
//	192.168.77.2 ─veth─ 192.168.77.1
//	10.99.i.2           10.64.i.2 ═TUN═ link i ═TUN═ 10.64.i.1
//	                        ·························
//	                                                 198.18.0.r (lo)
//	                                                 198.18.1.1 ──veth── 198.18.1.2
//	fd00:77::2 ──veth── fd00:77::1             fd00:518::1 ──veth── fd00:518::2
const (
	lanIf    = "lan0"  // on lan and gateway
	serverIf = "inet0" // on exit and server

	plainTable    = 100  // + i: routing table of the plain route of uplink i, on the gateway
	plainPriority = 1000 // + i: its rule; before any rule of bondd
	uplinkMetric  = 100  // + i: metric of the default route of uplink i
	uplinkMTU     = 1500
)

// Addresses in use, for measurements.
var (
	LAN4    = netip.MustParseAddr("192.168.77.2")
	LAN6    = netip.MustParseAddr("fd00:77::2")
	Server4 = netip.MustParseAddr("198.18.1.2")
	Server6 = netip.MustParseAddr("fd00:518::2")
)

// Plain is the source address whose packets take uplink i without bondd.
func Plain(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, byte(i), 2}) }

// remote is the r-th address of the exit, from 0.
func remote(r int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 0, byte(1 + r)}) }

// GatewayAddr is the gateway's own address on uplink i.
func GatewayAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 64, byte(i), 2}) }

// Short forms of the steps.
func up(link string) netStep            { return netStep{Do: "up", Link: link} }
func addr(link, prefix string) netStep  { return netStep{Do: "addr", Link: link, Addr: prefix} }
func sysctl(name, value string) netStep { return netStep{Do: "sysctl", Link: name, Value: value} }

// common holds for every host: the kernel's own values, whatever this machine
// is set to, and no memory from one measurement to the next.
var common = []netStep{
	sysctl("net.ipv4.conf.all.rp_filter", "0"),
	sysctl("net.ipv4.conf.default.rp_filter", "0"),
	sysctl("net.ipv4.tcp_no_metrics_save", "1"),
	sysctl("net.ipv4.tcp_rmem", "4096 131072 6291456"),
	sysctl("net.ipv4.tcp_wmem", "4096 16384 4194304"),
	sysctl("net.ipv6.conf.default.accept_dad", "0"),
	sysctl("net.ipv6.conf.default.router_solicitations", "0"),
}

// wire builds the network.
func (l *Lab) wire(ctx context.Context) error {
	for _, h := range l.hosts() {
		if err := h.net(ctx, common...); err != nil {
			return err
		}
	}
	for _, h := range l.hosts() {
		if slices.Contains(l.cfg.NoMPTCP, h.name) {
			if err := h.net(ctx, sysctl("net.mptcp.enabled", "0")); err != nil {
				return err
			}
		}
	}
	// The two wires.
	steps := []struct {
		host  *Host
		steps []netStep
	}{
		{l.Gateway, []netStep{{Do: "veth", Link: lanIf, Peer: lanIf, Pid: l.LAN.pid()}, addr(lanIf, "192.168.77.1/24"), addr(lanIf, "fd00:77::1/64"), up(lanIf)}},
		{l.LAN, []netStep{addr(lanIf, "192.168.77.2/24"), addr(lanIf, "fd00:77::2/64"), up(lanIf),
			{Do: "route", Via: "192.168.77.1"}, {Do: "route", Addr: "::/0", Via: "fd00:77::1"}}},
		{l.Exit, []netStep{{Do: "veth", Link: serverIf, Peer: serverIf, Pid: l.Server.pid()}, addr(serverIf, "198.18.1.1/24"), addr(serverIf, "fd00:518::1/64"), up(serverIf)}},
		{l.Server, []netStep{addr(serverIf, "198.18.1.2/24"), addr(serverIf, "fd00:518::2/64"), up(serverIf),
			{Do: "route", Via: "198.18.1.1"}, {Do: "route", Addr: "::/0", Via: "fd00:518::1"}}},
	}
	for _, s := range steps {
		if err := s.host.net(ctx, s.steps...); err != nil {
			return err
		}
	}
	for _, w := range []struct {
		host *Host
		link string
	}{{l.LAN, lanIf}, {l.Gateway, lanIf}, {l.Exit, serverIf}, {l.Server, serverIf}} {
		if err := w.host.net(ctx, netStep{Do: "running", Link: w.link}); err != nil {
			return err
		}
	}
	for r := range max(1, l.cfg.Remotes) {
		if err := l.Exit.net(ctx, addr("lo", remote(r).String()+"/32")); err != nil {
			return err
		}
	}
	for i, u := range l.cfg.Uplinks {
		if err := l.wireUplink(ctx, i, u); err != nil {
			return err
		}
	}
	if l.cfg.Home != nil {
		return l.wireHome(ctx)
	}
	return nil
}

// uplinkDevices makes both ends of an uplink: TUN devices for the emulator, or a bare wire.
func (l *Lab) uplinkDevices(ctx context.Context, u Uplink) error {
	if l.cfg.Bare {
		return l.Gateway.net(ctx, netStep{Do: "veth", Link: u.Name, Peer: u.Name, Pid: l.Exit.pid()})
	}
	for _, h := range []*Host{l.Gateway, l.Exit} {
		dev, err := h.tun(ctx, u.Name, uplinkMTU)
		if err != nil {
			return err
		}
		l.devices = append(l.devices, dev)
	}
	return nil
}

// wireUplink makes both ends of an uplink and all routes over it.
func (l *Lab) wireUplink(ctx context.Context, i int, u Uplink) error {
	if err := l.uplinkDevices(ctx, u); err != nil {
		return err
	}
	quiet := sysctl("net.ipv6.conf."+u.Name+".disable_ipv6", "1") // no router solicitations over the line
	near, far := GatewayAddr(i).String(), GatewayAddr(i).Prev().String()
	plain := Plain(i).String() + "/32"
	steps := append([]netStep{quiet, addr(u.Name, near+"/30")}, l.gatewayRoutes(i)...)
	steps = append(steps,
		netStep{Do: "rule", Addr: plain, Table: plainTable + i, Prio: plainPriority + i},
		netStep{Do: "route", Addr: plain, Link: lanIf})
	if err := l.Gateway.net(ctx, steps...); err != nil {
		return err
	}
	if err := l.Exit.net(ctx, quiet, addr(u.Name, far+"/30"), up(u.Name), netStep{Do: "route", Addr: plain, Link: u.Name}); err != nil {
		return err
	}
	return l.LAN.net(ctx, addr(lanIf, plain))
}

// gatewayRoutes sets the gateway's end of uplink i up and makes its routes.
func (l *Lab) gatewayRoutes(i int) []netStep {
	far := GatewayAddr(i).Prev().String()
	return []netStep{
		up(l.cfg.Uplinks[i].Name),
		{Do: "route", Via: far, Metric: uplinkMetric + i},
		{Do: "route", Via: far, Table: plainTable + i},
	}
}

// forwarding switches plain forwarding on gateway and exit on or off. It is off
// when bondd starts: what bondd needs, it has to set itself.
func (l *Lab) forwarding(ctx context.Context, on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	for _, h := range []*Host{l.Gateway, l.Exit} {
		if err := h.net(ctx, sysctl("net.ipv4.ip_forward", value)); err != nil {
			return fmt.Errorf("switch forwarding: %w", err)
		}
	}
	return nil
}

// ExitAddr is the first address of the exit.
var ExitAddr = remote(0)

// PlainTable is the gateway's routing table with uplink i for its default route.
func PlainTable(i int) int { return plainTable + i }

// UplinkNames are the names of the uplinks' interfaces.
func (l *Lab) UplinkNames() []string {
	var out []string
	for _, u := range l.cfg.Uplinks {
		out = append(out, u.Name)
	}
	return out
}
