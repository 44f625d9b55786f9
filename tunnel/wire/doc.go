// Package wire is the byte layout of a datagram: it appends and parses, and
// does nothing else. What a field means is decided in package tunnel; the
// sealing of the payload is in tunnel/seal.
//
// # Datagram
//
// One datagram is one UDP payload. All numbers are big endian.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-------+---+---+-----------------------------------------------+
//	|version|0 0|ep.|          session index, never 0               |
//	+-------+---+---+-----------------------------------------------+
//	|    path id    |          low 24 bits of pn                    |
//	+---------------+-----------------------------------------------+
//	|          AEAD( timestamp | frame | frame | ... )             ...
//	+---------------------------------------------------------------+
//	|                  16 bytes of AEAD tag                         |
//	+---------------------------------------------------------------+
//
//	version        1
//	ep.            the low two bits of the key epoch
//	session index  chosen by the receiver of this datagram in the hello
//	path id        the same number at both ends, for the life of the session
//	pn             number of the datagram on its path and in its direction,
//	               counted from 0, never reused; the receiver restores the high
//	               bits as in RFC 9000 A.3 (ReconstructPN)
//
// The eight bytes of the header are in the clear and are the additional data of
// the AEAD. The payload begins with the send time:
//
//	+-----------------------------------------------+
//	|  timestamp: units of 16 us, modulo 2^24       |  then frames
//	+-----------------------------------------------+
//
// The clock of the sender has any origin; a timestamp means something only as a
// difference to another one. It wraps after 268 s.
//
// A payload without frames is valid; nobody acknowledges it.
//
// # Frames
//
//	+-+-------------+---------------------+--------------
//	|L|    kind     | length, varint      | body ...
//	+-+-------------+---------------------+--------------
//
// L (LAST) says that the body runs to the end of the payload; the length is
// then left out. A receiver skips a kind it does not know by its length.
// Varints are those of RFC 9000, section 16. A known frame whose body is too
// short or too long is malformed.
//
// Around one IP packet alone in a datagram this makes 8 (header) + 16 (tag) + 3
// (timestamp) + 1 (kind) = 28 bytes, and 4 more for an ordered packet: 32.
//
//	PADDING 0         | any bytes, ignored
//
//	PING 1            | empty; asks for an ACK
//
//	ACK 2             | path u8 | largest pn, varint | ack delay in us, varint
//	                  | one-way delay of the largest in us, i32
//	                  | CE count, varint | ECT count, varint
//	                  | first range length, varint | further ranges (max 31), varint
//	                  | per further range: gap, varint | length, varint
//
//	PACKET 3          | IP packet
//	PACKET_PARTIAL 4  | IP packet
//
//	ORDERED 5         | flow u16 | seq u16 | IP packet
//	ORDERED_PARTIAL 6 | flow u16 | seq u16 | IP packet
//
//	SKIP 7            | flow u16 | from seq u16 | count u16
//
//	CHALLENGE 8       | 8 bytes
//	RESPONSE 9        | the same 8 bytes
//
//	PATH_STATUS 10    | path u8 | status sequence, varint | state u8 | group u8 | flags u8
//
//	CLOSE 11          | code, varint | reason, UTF-8, at most 200 bytes
//
//	MTU_INFO 12       | path u8 | size u16
//
//	NUMBERED 13         | flow u16 | seq u16 | IP packet
//	NUMBERED_PARTIAL 14 | the same
//
//	PATH_CAP 15         | path u8 | status sequence, varint | bytes per second, varint
//
//	STREAM 16         | stream id, varint | offset, varint | data
//	STREAM_FIN 17     | the same; the data ends the stream
//	OPEN 18           | stream id, varint | window, varint | target, at most 512 bytes
//	WINDOW 19         | stream id, varint | offset, varint
//	RESET 20          | stream id, varint | code, varint
//	CONNECTED 21      | stream id, varint | offset, varint
//
// ACK: the ranges are those of RFC 9000, section 19.3.1, newest first: a length
// is the number of pns in the range less one, a gap the number of missing pns
// between two ranges less one. The one-way delay is the receive time of the
// largest pn less its timestamp; the clocks have different origins, so it
// contains an unknown constant, the same for all paths of one direction. It is
// known modulo 2^28 us only: compare two of them with DelayDiff, never by
// subtraction. The CE and ECT counts are the totals of authenticated datagrams
// that arrived on the path marked CE, and marked ECT(0) or ECT(1).
//
// PACKET, ORDERED: one IP packet of the user, a piece of a super-packet included: it travels complete. The PARTIAL kinds carry a packet
// whose transport checksum field holds the sum of the pseudo header only; the
// receiver finds the place in the headers of the packet. Ordered packets of one
// flow have consecutive seqs, modulo 2^16.
//
// SKIP: the sender gives up the count packets of the flow from this seq on; the
// receiver does not wait for them any longer.
//
// CHALLENGE, RESPONSE: prove that an address answers. A response takes the path
// its challenge came by.
//
// PATH_STATUS: state is 0 available, 1 backup, 2 closed. A status counts only
// when its sequence is higher than that of the last one for the path. Paths over
// one uplink of the sender share a group. Flags: bit 0 metered, bit 1 a backup
// that is also used while all else is full, bit 2 drain; the others are sent as
// zero and ignored.
//
// PATH_CAP: the sender of the frame wants to receive no more than this on the
// path, in UDP payload; 0 is no limit. It counts only when its sequence is higher
// than that of the last one for the path.
//
// NUMBERED: like ORDERED, but delivered at once; the numbers only tell the second
// copy from the first.
//
// MTU_INFO: the largest datagram, in bytes of UDP payload, that the sender of
// this frame has received on the path.
//
// # Memory and goroutines
//
// Nothing here allocates, keeps state or starts goroutines. Parsed bodies alias
// the payload they were parsed from. Parsers accept any input: they never panic
// and never read past its end. Appenders panic with "internal error" when given
// a value that the format cannot hold.
//
// # Known weaknesses
//
// A second version of the header would have to keep the first four bits.
// ReconstructPN is right only while fewer than 2^23 datagrams of one path are
// on their way or lost in a row.
//
// References: RFC 9000 (varints, pn, ACK ranges), draft-ietf-quic-multipath
// (pn spaces per path).
package wire
