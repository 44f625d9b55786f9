package forward

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// answerTimeout bounds the wait for the kernel's answers to a transaction, which it gives within the call.
const answerTimeout = 5 * time.Second

// statusDNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h: the destination of the flow was translated.
const statusDNAT = 1 << 5

// Apply puts the table in place of what may be there of it, in the network namespace of the calling thread. ErrRights, ErrUnsupported.
func Apply(c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	err := transact("put table inet "+Table+" in place", func(conn *nftables.Conn, t *nftables.Table) { c.build(conn, t) })
	if err != nil {
		return err
	}
	return c.forget()
}

// Remove takes the table away; it is no error when there is none.
func Remove(c Config) error {
	if err := transact("remove table inet "+Table, nil); err != nil {
		return err
	}
	return c.forget()
}

// withDeadline is a nftables.SockOption whatever the library's socket type is.
func withDeadline[C interface{ SetDeadline(time.Time) error }](c C) error {
	return c.SetDeadline(time.Now().Add(answerTimeout))
}

// transact removes the table and makes it anew with build, if that is not nil, in one step.
func transact(what string, build func(*nftables.Conn, *nftables.Table)) error {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(withDeadline))
	if err != nil {
		return explain("open a netfilter netlink socket", err)
	}
	defer conn.CloseLasting()
	t := &nftables.Table{Name: Table, Family: nftables.TableFamilyINet}
	conn.AddTable(t) // deleting what is not there would fail
	conn.DelTable(t)
	if build != nil {
		conn.AddTable(t)
		build(conn, t)
	}
	return explain(what, conn.Flush())
}

func (c Config) build(conn *nftables.Conn, t *nftables.Table) {
	accept := nftables.ChainPolicyAccept
	chain := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority, rules ...[]expr.Any) {
		kc := conn.AddChain(&nftables.Chain{Name: name, Table: t, Type: kind, Hooknum: hook, Priority: priority, Policy: &accept})
		for _, r := range rules {
			conn.AddRule(&nftables.Rule{Table: t, Chain: kc, Exprs: r})
		}
	}
	at, family := daddr(c.Listen.Addr()), byte(unix.NFPROTO_IPV6)
	if c.To.Addr().Is4() {
		family = unix.NFPROTO_IPV4
	}
	if a := c.Listen.Addr(); !a.IsValid() || a.IsUnspecified() {
		at = append(equal(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, []byte{family}),
			equal(&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true}, native(unix.RTN_LOCAL))...)
	}
	var in, out [][]expr.Any
	for _, proto := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		in = append(in, join(at, dport(proto, c.Listen.Port()), []expr.Any{
			&expr.Immediate{Register: 1, Data: c.To.Addr().AsSlice()},
			&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, c.To.Port())},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(family), RegAddrMin: 1, RegProtoMin: 2},
		}))
		out = append(out, join(translated(), daddr(c.To.Addr()), dport(proto, c.To.Port()), []expr.Any{&expr.Masq{}}))
	}
	chain("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, in...)
	chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, out...)
	if c.Closed {
		chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter,
			append(translated(), &expr.Verdict{Kind: expr.VerdictAccept}), []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})
	}
}

func join(parts ...[]expr.Any) (out []expr.Any) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// equal loads something into register 1 and compares it.
func equal(load expr.Any, data []byte) []expr.Any {
	return []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}}
}

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// dport matches the destination port, which TCP and UDP have at the same place.
func dport(proto byte, port uint16) []expr.Any {
	return append(equal(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, []byte{proto}),
		equal(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, binary.BigEndian.AppendUint16(nil, port))...)
}

// daddr matches the destination address, and so its family.
func daddr(a netip.Addr) []expr.Any {
	family, offset := byte(unix.NFPROTO_IPV4), uint32(16) // RFC 791 3.1
	if a.Is6() {
		family, offset = unix.NFPROTO_IPV6, 24 // RFC 8200 3
	}
	return append(equal(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, []byte{family}),
		equal(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(a.BitLen() / 8)}, a.AsSlice())...)
}

// translated matches both directions of flows whose destination was translated.
func translated() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(statusDNAT), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: native(0)},
	}
}

// forget removes what is tracked of flows to the port. A gateway's probes would keep an entry from before the rules alive for ever, and one
// from after them too.
func (c Config) forget() error {
	family := netlink.InetFamily(unix.AF_INET6)
	if c.To.Addr().Is4() {
		family = unix.AF_INET
	}
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return explain("open a netfilter netlink socket", err)
	}
	defer h.Close()
	var errs []error
	for _, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		f := new(netlink.ConntrackFilter)
		errs = append(errs, f.AddProtocol(proto), f.AddPort(netlink.ConntrackOrigDstPort, c.Listen.Port()))
		_, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, family, f)
		errs = append(errs, err)
	}
	return explain("forget tracked flows", errors.Join(errs...))
}

// explain makes one sentence of an errno. The transaction names nothing that it does not make first, so ENOENT is an expression that the
// kernel does not know.
func explain(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("nftables: %s: %w (%w)", what, ErrRights, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("nftables: %s: %w: NF_TABLES, NF_TABLES_INET, NFT_NAT, NFT_MASQ, NFT_FIB_INET, NFT_CT in the kernel, Linux 5.2 or later (%w)",
			what, ErrUnsupported, err)
	}
	return fmt.Errorf("nftables: %s: %w", what, err)
}
