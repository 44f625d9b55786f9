package nft

import (
	"fmt"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// choiceExprs are the kernel's expressions for the clauses of choice.go.
func choiceExprs(c clause) []expr.Any {
	const reg = 1
	num := binaryutil.NativeEndian.PutUint32
	masked := func(load expr.Any, value, mask uint32) []expr.Any {
		ex := []expr.Any{load}
		if mask != ^uint32(0) {
			ex = append(ex, &expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: num(mask), Xor: num(0)})
		}
		return append(ex, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: num(value)})
	}
	switch c := c.(type) {
	case fromMAC:
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFTYPE, Register: reg},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.NativeEndian.PutUint16(unix.ARPHRD_ETHER)},
			// The source is at byte 6 of an Ethernet header.
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: c[:]},
		}
	case protocol:
		proto := byte(unix.IPPROTO_UDP)
		if c.tcp {
			proto = unix.IPPROTO_TCP
		}
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{proto}},
		}
	case marked:
		return masked(&expr.Meta{Key: expr.MetaKeyMARK, Register: reg}, c.value, c.mask)
	case connMarked:
		return masked(&expr.Ct{Key: expr.CtKeyMARK, Register: reg}, c.value, c.mask)
	case setMark:
		return []expr.Any{
			&expr.Immediate{Register: reg, Data: num(uint32(c))},
			&expr.Meta{Key: expr.MetaKeyMARK, Register: reg, SourceRegister: true},
		}
	case setConnMark:
		return []expr.Any{
			&expr.Immediate{Register: reg, Data: num(uint32(c))},
			&expr.Ct{Key: expr.CtKeyMARK, Register: reg, SourceRegister: true},
		}
	case restoreMark:
		return []expr.Any{
			&expr.Ct{Key: expr.CtKeyMARK, Register: reg},
			&expr.Meta{Key: expr.MetaKeyMARK, Register: reg, SourceRegister: true},
		}
	case isNew:
		op := expr.CmpOpNeq // of no bit at all
		if c.not {
			op = expr.CmpOpEq
		}
		return []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATE, Register: reg},
			&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: num(expr.CtStateBitNEW), Xor: num(0)},
			&expr.Cmp{Op: op, Register: reg, Data: num(0)},
		}
	case accept:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	case jump:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: string(c)}}
	}
	panic(fmt.Sprintf("internal error: clause of type %T", c))
}
