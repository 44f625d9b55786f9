// Package probe asks whether something out there answers by one uplink: an ICMP echo to an address, or the opening of a TCP
// connection to an address and port, where a refusal is an answer too.
//
// One call is one question, in the goroutine of the caller. An echo needs CAP_NET_RAW (a raw socket); where that is missing it is an
// error that matches fs.ErrPermission, which is not the same as no answer.
//
// Known weakness: a raw socket sees all echo replies of the machine; those of others are told by source, identifier and number.
//
// References: RFC 792, RFC 4443 §4 (echo), RFC 9293 §3.10.7.3 (a reset in answer to a SYN).
package probe
