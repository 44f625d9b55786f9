package udp

import (
	"net/netip"
	"time"
)

// Datagram is one UDP payload with its addresses.
//
// Data belongs to the caller at all times: before ReadBatch it is the room to read into (its length counts, not its capacity),
// after it the same room cut to the payload. WriteBatch only reads it and keeps no reference.
type Datagram struct {
	Data []byte
	// Peer is the far address. IPv4 addresses are always 4 bytes long here, also on a dual-stack socket.
	Peer netip.AddrPort
	// Local is our address: on reading the one the datagram was sent to; on writing the source to use,
	// the zero Addr leaving it to the kernel. A source that is not ours is a path-down error.
	Local netip.Addr
	// ECN is the two-bit field of the IP header (RFC 3168 §5): 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE.
	ECN uint8
	// Segment says, after ReadBatch, that Data is a run of datagrams of Segment bytes each, the last one shorter, with the same
	// addresses. 0: one datagram. Ignored on writing.
	Segment int
	// At is when the datagram was taken from the kernel; one clock reading serves a whole system call. Ignored on writing.
	At time.Time
}

// Socket is a UDP socket that never fragments, read and written in batches. All methods are safe for concurrent use; one reader
// and one writer is the rule.
type Socket interface {
	// ReadBatch waits for at least one datagram and never for a second one. It returns how many of ds it filled. Where every room
	// has RunRoom bytes each may be filled with a run; smaller rooms get datagrams one by one. A datagram
	// larger than the room offered is dropped and counted. After Close it returns net.ErrClosed. Other errors are
	// the kernel's and are passing ones unless they repeat.
	ReadBatch(ds []Datagram) (int, error)

	// WriteBatch sends ds in order and returns how many were sent. With an error, ds[n] is the datagram it belongs to, and the
	// caller decides: drop it and go on with ds[n+1:], or stop. See IsMessageTooLong and IsPathDown. It waits while
	// the send buffer is full, which is the back-pressure of a local link. After Close it returns net.ErrClosed.
	WriteBatch(ds []Datagram) (int, error)

	// LocalAddr is the bound address, with the port the kernel chose if it was asked to.
	LocalAddr() netip.AddrPort
	// Stats counts since Listen.
	Stats() Stats
	// Close unblocks readers and writers. Only the first call does anything.
	Close() error
}

// Prompt is a Socket that can also send without ever waiting.
type Prompt interface {
	// WriteNow is WriteBatch, except that it does not wait while the send buffer is full: n < len(ds) without an error says so.
	// It is not to be called while a WriteBatch is under way.
	WriteNow(ds []Datagram) (int, error)
}

// Stats are running counts of one Socket, and what offloads it has now.
type Stats struct {
	ReadDatagrams  uint64 `json:"read_datagrams"`
	ReadCalls      uint64 `json:"read_calls"` // system calls that returned something
	WriteDatagrams uint64 `json:"write_datagrams"`
	WriteCalls     uint64 `json:"write_calls"`    // system calls that sent something
	DropTooLong    uint64 `json:"drop_too_long"`  // larger than the room offered
	DropMalformed  uint64 `json:"drop_malformed"` // no usable peer address came with it
	KernelDrops    uint64 `json:"kernel_drops"`   // lost in the kernel because the receive buffer was full
	GSO            bool   `json:"gso"`            // runs of datagrams leave as one send
	GRO            bool   `json:"gro"`            // runs arrive as one receive
	ReadBuffer     int    `json:"read_buffer"`    // bytes granted, by the kernel's own count; 0 unknown
	WriteBuffer    int    `json:"write_buffer"`
}

// Options say what to listen on. The zero value is every address of both families, with a port chosen by the kernel.
type Options struct {
	// Local is the address to bind. An unset or unspecified IPv6 address ("[::]:7117", ":7117") serves both families; where
	// IPv6 does not exist an unset address serves IPv4 alone.
	Local netip.AddrPort
	// Device binds the socket to an interface (SO_BINDTODEVICE, Linux only). Needs CAP_NET_RAW on kernels before 5.7.
	Device string
	// Mark is the firewall mark of everything sent (SO_MARK, Linux only); 0 none. Needs CAP_NET_ADMIN or CAP_NET_RAW.
	Mark uint32
	// ReadBuffer and WriteBuffer are the socket buffers asked for in bytes; 0 is DefaultBuffer. What was granted is in Stats.
	ReadBuffer, WriteBuffer int
	// NoOffload keeps UDP_SEGMENT and UDP_GRO off, for tests and comparisons.
	NoOffload bool
	// Portable takes the socket of other systems here too, for tests and comparisons.
	Portable bool
}

// DefaultBuffer holds 32 ms of a 1 Gbit/s burst, longer than the engine is ever kept from its sockets by one turn.
const DefaultBuffer = 4 << 20

// BatchSize is a good length for ReadBatch and WriteBatch: two runs of 64, the most the kernel joins, so that a run
// that is waiting and the one behind it go in one call.
const BatchSize = 128

// ECN code points, RFC 3168 §5.
const (
	NotECT = 0
	ECT1   = 1
	ECT0   = 2
	CE     = 3
)

// RunRoom is the room for any run: the kernel stops one before it passes 64 KB.
const RunRoom = 65536

// MaxPayload is the largest UDP payload over IPv4: 65535 less 20 bytes of IP and 8 of UDP header.
const MaxPayload = 65507
