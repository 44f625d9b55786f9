package nft

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// targetExprs are the kernel's expressions for the clauses of target.go.
func targetExprs(c clause) []expr.Any {
	const reg, regPort = 1, 2
	port := func(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }
	switch c := c.(type) {
	case toThis:
		return []expr.Any{
			&expr.Fib{Register: reg, FlagDADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
		}
	case family:
		proto := byte(unix.NFPROTO_IPV4)
		if c.v6 {
			proto = unix.NFPROTO_IPV6
		}
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{proto}},
		}
	case toPorts:
		// The destination port is at byte 2 of both headers (RFC 768, RFC 9293 3.1).
		ex := append(choiceExprs(protocol{tcp: c.tcp}), &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
		if c.first == c.last {
			return append(ex, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: port(c.first)})
		}
		return append(ex, &expr.Range{Op: expr.CmpOpEq, Register: reg, FromData: port(c.first), ToData: port(c.last)})
	case newTarget:
		nat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg}
		if c.to.Is6() {
			nat.Family = unix.NFPROTO_IPV6
		}
		ex := []expr.Any{&expr.Immediate{Register: reg, Data: c.to.AsSlice()}}
		if c.port != 0 {
			ex = append(ex, &expr.Immediate{Register: regPort, Data: port(c.port)})
			nat.RegProtoMin, nat.Specified = regPort, true
		}
		return append(ex, nat)
	case redirect:
		return []expr.Any{
			&expr.Immediate{Register: reg, Data: port(uint16(c))},
			&expr.Redir{RegisterProtoMin: reg, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED},
		}
	}
	panic(fmt.Sprintf("internal error: clause of type %T", c))
}
