package intercept

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers: reg is the first of 16 bytes, the next 16 bytes are reg 2; the 4-byte ones
// count on from 8 within the same memory (NFT_REG32_00).
const (
	reg      = unix.NFT_REG_1
	regPort4 = unix.NFT_REG32_00 + 1 // after an IPv4 address in reg
	regPort6 = unix.NFT_REG32_00 + 4 // after an IPv6 address
)

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func meta(key expr.MetaKey) *expr.Meta { return &expr.Meta{Key: key, Register: reg} }

func cmp(op expr.CmpOp, data ...byte) *expr.Cmp {
	return &expr.Cmp{Op: op, Register: reg, Data: data}
}

func familyExprs(v6 bool) []expr.Any {
	family := byte(unix.NFPROTO_IPV4)
	if v6 {
		family = unix.NFPROTO_IPV6
	}
	return []expr.Any{meta(expr.MetaKeyNFPROTO), cmp(expr.CmpOpEq, family)}
}

func isTCP() []expr.Any {
	return []expr.Any{meta(expr.MetaKeyL4PROTO), cmp(expr.CmpOpEq, unix.IPPROTO_TCP)}
}

// destination loads the address into reg.
func destination(v6 bool) expr.Any {
	offset, size := uint32(16), uint32(4) // RFC 791 3.1
	if v6 {
		offset, size = 24, 16 // RFC 8200 3
	}
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size}
}

// destinationPort loads bytes 2 and 3 of the TCP or UDP header.
func destinationPort(register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
}

func setMeta(mark uint32) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg, Data: native32(mark)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg, SourceRegister: true},
	}
}

func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ) // compared whole, so that "tun1" is not "tun10"
	copy(b, name)
	return b
}

// exprs are the kernel's expressions for a clause: what nft itself sends. Sets
// without a name are added to the transaction on the way.
func (tx *transaction) exprs(c clause) []expr.Any {
	lookup := func(s *set, invert bool) expr.Any {
		return &expr.Lookup{SourceRegister: reg, SetName: tx.sets[s].Name, SetID: tx.sets[s].ID, Invert: invert}
	}
	switch c := c.(type) {
	case device:
		return deviceExprs(c)
	case notUnicast:
		types := tx.anonymous(nftables.TypeFIBAddr,
			native32(unix.RTN_LOCAL), native32(unix.RTN_BROADCAST), native32(unix.RTN_ANYCAST), native32(unix.RTN_MULTICAST))
		return []expr.Any{&expr.Fib{Register: reg, FlagDADDR: true, ResultADDRTYPE: true}, types}
	case routedElsewhere:
		return []expr.Any{
			&expr.Fib{Register: reg, FlagDADDR: true, FlagMARK: true, ResultOIFNAME: true},
			cmp(expr.CmpOpNeq, ifname(string(c))...),
		}
	case isFamily:
		return familyExprs(c.v6)
	case marked:
		ex := []expr.Any{meta(expr.MetaKeyMARK)}
		if c.mask != 0 {
			ex = append(ex, &expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: native32(c.mask), Xor: native32(0)})
		}
		return append(ex, cmp(expr.CmpOpEq, native32(c.value)...))
	case connMarked:
		return []expr.Any{&expr.Ct{Key: expr.CtKeyMARK, Register: reg}, cmp(expr.CmpOpEq, native32(uint32(c))...)}
	case notTCP:
		return []expr.Any{meta(expr.MetaKeyL4PROTO), cmp(expr.CmpOpNeq, unix.IPPROTO_TCP)}
	case syn:
		op := expr.CmpOpEq
		if c.not {
			op = expr.CmpOpNeq
		}
		// Flags are byte 13 (RFC 9293 3.1): FIN 0x01, SYN 0x02, RST 0x04, ACK 0x10.
		return append(isTCP(),
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: []byte{0x17}, Xor: []byte{0}},
			cmp(op, 0x02))
	case ourSocket:
		return []expr.Any{&expr.Socket{Key: expr.SocketKeyTransparent, Register: reg}, cmp(expr.CmpOpEq, 1)}
	case otherFamily:
		return []expr.Any{meta(expr.MetaKeyNFPROTO), lookup(c.in, true)}
	case to:
		return append(familyExprs(c.in.v6), destination(c.in.v6), lookup(c.in, false))
	case toPort:
		return []expr.Any{
			meta(expr.MetaKeyL4PROTO), tx.anonymous(nftables.TypeInetProto, []byte{unix.IPPROTO_TCP}, []byte{unix.IPPROTO_UDP}),
			destinationPort(reg), lookup(c.in, false),
		}
	case toBoth:
		port := uint32(regPort4)
		if c.in.v6 {
			port = regPort6
		}
		ex := append(familyExprs(c.in.v6), isTCP()...)
		return append(ex, destination(c.in.v6), destinationPort(port), lookup(c.in, false))
	case setMark:
		return setMeta(uint32(c))
	case setConnMark:
		return []expr.Any{
			&expr.Immediate{Register: reg, Data: native32(uint32(c))},
			&expr.Ct{Key: expr.CtKeyMARK, Register: reg, SourceRegister: true},
		}
	case accept:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	case jump:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: string(c)}}
	case reset:
		return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
	case unreachable:
		if c.v6 {
			return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 3}} // RFC 4443 3.1: address
		}
		return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 1}} // RFC 792: host
	case divert:
		return divertExprs(c)
	case masquerade:
		return []expr.Any{&expr.Masq{}}
	}
	panic(fmt.Sprintf("internal error: clause of type %T", c))
}

func deviceExprs(d device) []expr.Any {
	key, op := expr.MetaKeyIIFNAME, expr.CmpOpEq
	if d.out {
		key = expr.MetaKeyOIFNAME
	}
	if d.not {
		op = expr.CmpOpNeq
	}
	return []expr.Any{meta(key), cmp(op, ifname(d.name)...)}
}

func divertExprs(d divert) []expr.Any {
	const regPort = unix.NFT_REG_2
	family, at := byte(unix.NFPROTO_IPV4), loopback(d.v6)
	if d.v6 {
		family = unix.NFPROTO_IPV6
	}
	return append(append(familyExprs(d.v6), isTCP()...),
		&expr.Immediate{Register: reg, Data: at.AsSlice()},
		&expr.Immediate{Register: regPort, Data: binary.BigEndian.AppendUint16(nil, d.port)},
		&expr.TProxy{Family: family, TableFamily: unix.NFPROTO_INET, RegAddr: reg, RegPort: regPort})
}

// loopback is where the listener of a family is: nobody on the LAN can reach it
// but by being taken.
func loopback(v6 bool) netip.Addr {
	if v6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}
