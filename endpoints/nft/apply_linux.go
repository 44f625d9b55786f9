package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// answerTimeout bounds the wait for the kernel's answers to a transaction. It
// gives them within the call, except that a kernel without nf_tables answers
// one message only and the library waits for one each.
const answerTimeout = 5 * time.Second

// withDeadline is a nftables.SockOption whatever the library's socket type is.
func withDeadline[C interface{ SetDeadline(time.Time) error }](c C) error {
	return c.SetDeadline(time.Now().Add(answerTimeout))
}

func dial() (*nftables.Conn, error) {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(withDeadline))
	if err != nil {
		return nil, explain("open a netfilter netlink socket", err)
	}
	return conn, nil
}

// Apply puts the table in place, in the network namespace of the calling
// thread and in one transaction: there is no moment without the old one or the
// new one. Applying again changes nothing. ErrRights, ErrUnsupported.
func Apply(c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	conn, err := dial()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	t := replaceTable(conn, c)
	conn.AddTable(t)
	accept := nftables.ChainPolicyAccept
	for _, ch := range c.chains() {
		kc := &nftables.Chain{Name: ch.name, Table: t}
		if ch.hook != "" {
			kc.Type, kc.Hooknum, kc.Priority, kc.Policy = nftables.ChainType(ch.kind), hooks[ch.hook], priorities[ch.priority], &accept
		}
		conn.AddChain(kc)
		for _, r := range ch.rules {
			var ex []expr.Any
			for _, cl := range r {
				ex = append(ex, exprs(cl)...)
			}
			conn.AddRule(&nftables.Rule{Table: t, Chain: kc, Exprs: ex})
		}
	}
	return explain("put table inet "+t.Name+" in place", conn.Flush())
}

// Remove takes the table away; it is no error when there is none.
func Remove(c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	conn, err := dial()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	t := replaceTable(conn, c)
	return explain("remove table inet "+t.Name, conn.Flush())
}

// replaceTable queues the removal of the table, whether it is there or not:
// deleting what is not there would fail the transaction, so it is made first.
func replaceTable(conn *nftables.Conn, c Config) *nftables.Table {
	t := &nftables.Table{Name: c.table(), Family: nftables.TableFamilyINet}
	conn.AddTable(t)
	conn.DelTable(t)
	return t
}

var hooks = map[string]*nftables.ChainHook{
	"forward":     nftables.ChainHookForward,
	"prerouting":  nftables.ChainHookPrerouting,
	"postrouting": nftables.ChainHookPostrouting,
	"output":      nftables.ChainHookOutput,
}

var priorities = map[string]*nftables.ChainPriority{
	"mangle":     nftables.ChainPriorityMangle,
	"mangle - 5": nftables.ChainPriorityRef(*nftables.ChainPriorityMangle - 5),
	"srcnat":     nftables.ChainPriorityNATSource,
	"dstnat":     nftables.ChainPriorityNATDest,
}

// exprs are the kernel's expressions for a clause: what nft itself sends.
func exprs(c clause) []expr.Any {
	const reg = 1
	switch c := c.(type) {
	case device:
		key, op := expr.MetaKeyIIFNAME, expr.CmpOpEq
		if c.out {
			key = expr.MetaKeyOIFNAME
		}
		if c.not {
			op = expr.CmpOpNeq
		}
		name := make([]byte, unix.IFNAMSIZ) // compared whole, so that "tun1" is not "tun10"
		copy(name, c.name)
		return []expr.Any{
			&expr.Meta{Key: key, Register: reg},
			&expr.Cmp{Op: op, Register: reg, Data: name},
		}
	case source:
		return addressExprs(netip.Prefix(c).Masked(), reg, false)
	case destination:
		return addressExprs(netip.Prefix(c).Masked(), reg, true)
	case clampMSS:
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{unix.IPPROTO_TCP}},
			// TCP flags are byte 13 (RFC 9293 3.1): SYN 0x02 set, RST 0x04 not.
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: []byte{0x06}, Xor: []byte{0}},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{0x02}},
			&expr.Rt{Register: reg, Key: expr.RtTCPMSS},
			&expr.Byteorder{SourceRegister: reg, DestRegister: reg, Op: expr.ByteorderHton, Len: 2, Size: 2},
			// Option 2 is the maximum segment size: kind, length, two bytes of value.
			&expr.Exthdr{SourceRegister: reg, Type: 2, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt},
		}
	case toThis, family, toPorts, newTarget, redirect:
		return targetExprs(c)
	case masquerade:
		return []expr.Any{&expr.Masq{}}
	case fromMAC, protocol, marked, connMarked, setMark, setConnMark, restoreMark, isNew, accept, jump:
		return choiceExprs(c)
	}
	panic(fmt.Sprintf("internal error: clause of type %T", c))
}

// addressExprs match the network of the source address, or of the destination, which stands behind it.
func addressExprs(p netip.Prefix, reg uint32, to bool) []expr.Any {
	proto, offset := byte(unix.NFPROTO_IPV4), uint32(12) // RFC 791 3.1
	if p.Addr().Is6() {
		proto, offset = unix.NFPROTO_IPV6, 8 // RFC 8200 3
	}
	addr := p.Addr().AsSlice()
	size := uint32(len(addr))
	if to {
		offset += size
	}
	ex := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{proto}},
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
	}
	if !p.IsSingleIP() {
		mask := make([]byte, size)
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		ex = append(ex, &expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: size, Mask: mask, Xor: make([]byte, size)})
	}
	return append(ex, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: addr})
}

// explain makes one sentence of an errno. The transaction names nothing that it
// does not make first, so ENOENT is an expression that the kernel does not know.
func explain(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("nftables: %s: %w (%w)", what, ErrRights, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP),
		errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("nftables: %s: %w: NF_TABLES, NF_TABLES_INET, NFT_MASQ, NFT_RT in the kernel, Linux 5.2 or later (%w)", what, ErrUnsupported, err)
	}
	return fmt.Errorf("nftables: %s: %w", what, err)
}
