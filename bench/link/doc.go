// Package link is the model of one direction of one link: a rate, a queue, a
// delay, jitter, loss and the accidents of real lines. It is pure: the caller
// brings the time and a seeded source of randomness, and the same calls give
// the same answers. The simulator drives it in virtual time, the lab in real
// time.
//
// A packet walks through it in this order:
//
//	Send ─► MTU ─► outage ─► policer ─► drop-tail queue ─► serialiser ─► loss ─► delay + jitter ─► Receive
//	                                    (+ CE threshold)   (rate, steps,
//	                                                        or a trace)
//
// Loss strikes behind the serialiser, as on a radio: a lost packet has used
// the link's capacity all the same. Jitter is drawn once per block of time and
// never reorders, because a real line is a FIFO: independent jitter per packet
// would either reorder wildly or, with order kept, act as a second queue.
// Reordering, where it is wanted, is its own setting.
//
// Ownership: a Link belongs to one goroutine and starts none. Values handed to
// Send stay inside until Receive returns them; values of dropped packets stay
// with the caller (or are forgotten where the loss happens later, in an outage).
//
// Known weaknesses: one FIFO, no fair queueing and no AQM other than the mark
// threshold; the policer drops at the entrance only; no duplication and no
// corruption of bytes (the caller can do both on what it receives); medium
// sharing between the two directions (half duplex radio) is not modelled.
//
// References: RFC 3168 (CE), RFC 2697 in its single-bucket form (policer),
// Gilbert 1960 and Elliott 1963 (burst loss), Mahimahi mm-link (trace format).
package link
