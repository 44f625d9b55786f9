package endpoints

import (
	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/intercept"
	"github.com/bondd/bondd/endpoints/nft"
)

// Rules are the nftables rules that a node with this configuration puts in place, as `nft -f` reads them; what else it changes for
// them stands there as comments. A gateway intercepts when its exit carries streams, and IPv6 when its exit has that, which these rules are
// without.
func Rules(cfg *config.Config) string {
	switch cfg.Role {
	case config.RoleExit:
		return nft.Text(exitFirewall(cfg))
	case config.RoleRelay:
		return relayRules(cfg)
	}
	text := nft.Text(gatewayFirewall(cfg, func(int) bool { return false }))
	if !cfg.Stream.InterceptOff {
		text += "\n" + intercept.Text(interceptConfig(cfg, cfg.TUN.Name))
	}
	return text
}

// gatewayFirewall is the table of a gateway; out tells which exits of rules are out of reach.
func gatewayFirewall(cfg *config.Config, out func(number int) bool) nft.Config {
	c := nft.Config{Role: nft.Gateway, TUN: cfg.TUN.Name, Choices: choicesOf(cfg, out)}
	for _, n := range numbersOf(cfg) {
		c.Exits = append(c.Exits, nft.ExitTUN{Number: uint16(n), TUN: exitTUN(cfg, n)})
	}
	if d := &cfg.DNS; d.Intercept && len(d.Listen) > 0 {
		c.DNS, c.DNSFrom = d.Listen[0].Port(), cfg.LAN.Interfaces
	}
	for _, f := range cfg.Forwards {
		if f.AsStream {
			continue
		}
		for _, r := range f.Ports {
			c.Forwards = append(c.Forwards, nft.Forward{TCP: !f.UDP, First: r.First, Last: r.Last, To: f.To, Port: f.Port})
		}
	}
	return c
}

// exitFirewall forwards to a gateway's own inner addresses, with the port as it is: where it leads from there is the gateway's to say.
func exitFirewall(cfg *config.Config) nft.Config {
	c := nft.Config{Role: nft.Exit, TUN: cfg.TUN.Name}
	for _, p := range cfg.Inner.Exit() {
		c.Inner = append(c.Inner, p.Masked())
	}
	for _, g := range cfg.Gateways {
		for _, f := range g.Forwards {
			if f.AsStream {
				continue
			}
			for _, r := range f.Ports {
				for _, to := range g.Addresses {
					c.Forwards = append(c.Forwards, nft.Forward{TCP: !f.UDP, First: r.First, Last: r.Last, To: to.Addr()})
				}
			}
		}
	}
	return c
}
