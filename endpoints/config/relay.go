package config

// How a relay forwards.
const (
	ForwardAuto   = "auto"   // in the kernel where it can, else by itself
	ForwardKernel = "kernel" // in the kernel or not at all
	ForwardUser   = "user"   // by itself
)

// Relay is how a node with role relay forwards. The numbers bound what it does by itself; in the kernel, connection tracking has its own
// bounds.
type Relay struct {
	Forward   string
	Flows     int // UDP flows and TCP connections at a time, each
	PerSource int // of one source address (an IPv6 /64) at a time, each
}

// What a relay holds where the file does not say otherwise. A gateway has one UDP flow per uplink and address of the relay.
const (
	defaultFlows     = 1024
	defaultPerSource = 64
	maxFlows         = 1 << 16
)

func (c *Config) readRelay(t *table) {
	if exit := t.table("exit"); exit != nil { // its address is all that a relay may know
		exit.texts("address", `"exit.example.net"`, addressTo(&c.Exit.Addresses))
	}
	c.readListen(t)
	c.readForwarding(t)
}

func (c *Config) readForwarding(t *table) {
	if r := t.table("relay"); r != nil {
		r.text("forward", `"auto"`, oneOf(&c.Relay.Forward, ForwardAuto, ForwardKernel, ForwardUser))
		r.number("flows", "1024", &c.Relay.Flows)
		r.number("per_source", "64", &c.Relay.PerSource)
	}
}

func addressTo(to *[]Address) func(string) error {
	return func(s string) error {
		a, err := ParseAddress(s)
		if err == nil {
			*to = append(*to, a)
		}
		return err
	}
}

func (r *Relay) setDefaults() {
	if r.Forward == "" {
		r.Forward = ForwardAuto
	}
	if r.Flows == 0 {
		r.Flows = defaultFlows
	}
	if r.PerSource == 0 {
		r.PerSource = min(defaultPerSource, r.Flows)
	}
}

func (v *validator) relay(c *Config) {
	switch len(c.Exit.Addresses) {
	case 0:
		v.problem("exit.address", "exit.address is missing; write the host name or IP address of the exit that this relay forwards to")
	case 1:
	default:
		v.problem("exit.address", "exit.address: a relay forwards to one address; run another relay on another port for the second")
	}
	if len(c.Listen) > 1 {
		v.problem("listen", "listen: a relay has one port; remove all but one")
	}
	v.check("relay.forward", checkWord(c.Relay.Forward, ForwardAuto, ForwardKernel, ForwardUser))
	if n := c.Relay.Flows; n < 1 || n > maxFlows {
		v.problem("relay.flows", "relay.flows: %d is out of range; it must lie between 1 and %d", n, maxFlows)
	}
	if n := c.Relay.PerSource; n < 1 || n > c.Relay.Flows {
		v.problem("relay.per_source", "relay.per_source: %d is out of range; it must lie between 1 and relay.flows", n)
	}
}

func (d *describer) relay(c *Config) {
	for _, a := range c.Listen {
		d.line("listen", "%s, TCP and UDP", a)
	}
	for _, a := range c.Exit.Addresses {
		d.line("forward to", "%s and nowhere else", a)
	}
	how := map[string]string{
		ForwardAuto:   "in the kernel (nftables), or by itself where that cannot be",
		ForwardKernel: "in the kernel (nftables)",
		ForwardUser:   "by itself",
	}[c.Relay.Forward]
	d.line("how", "%s; by itself at most %d UDP flows and %d connections at a time, %d of each source", how, c.Relay.Flows, c.Relay.Flows, c.Relay.PerSource)
	d.line("keys", "none: what passes is sealed")
}
