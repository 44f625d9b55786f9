package tun

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Packet is one IP packet on its way out of or into a Device.
//
// Data belongs to the caller at all times: before Read it is the room to read into (its length counts, not its capacity), after Read the same room cut to the
// packet. Write only reads Data, with one exception stated there, and keeps no reference to it.
//
// CsumStart and CsumOffset are both 0 when every checksum of the packet is complete. Otherwise the transport checksum
// is unfinished: the field at Data[CsumStart+CsumOffset:] holds the folded, uncomplemented sum of the pseudo header, and
// the checksum still has to be taken from CsumStart to the end of the packet (virtio 1.2, 5.1.6.2, VIRTIO_NET_HDR_F_NEEDS_CSUM).
type Packet struct {
	Data       []byte
	CsumStart  uint16
	CsumOffset uint16
	// Segment says, after a Read, that Data is a super-packet: Headers bytes of headers, and behind them the payload of several
	// packets, Segment bytes each, the last one shorter. Its checksum is unfinished. 0: an ordinary packet. Write ignores both.
	Segment, Headers uint16
}

// Device is a TUN device, read and written in batches. All methods are safe for concurrent use; packets of concurrent
// Reads come in no defined order, so one reader is the rule.
type Device interface {
	// Read waits for at least one packet and fills ps from the front; it never waits for a second one. It returns how many
	// packets it filled. Room of SuperRoom bytes may be filled with a super-packet; smaller room gets its packets one by one. A packet larger than the room offered is dropped and counted in Stats; so is one that is not IP.
	// After Close it returns net.ErrClosed.
	Read(ps []Packet) (int, error)

	// Write hands the packets to the kernel in order and returns how many were taken care of: n < len(ps) only with an error.
	// A packet the kernel refuses, or that is not a sound IP packet, is dropped and counted and does not stop the rest. Adjacent packets of one
	// TCP or UDP flow may go down as one super-packet. Unfinished checksums are finished where the device cannot: then Write
	// changes the checksum field inside Data. After Close it returns net.ErrClosed.
	Write(ps []Packet) (int, error)

	// Name is the interface name the system gave.
	Name() string
	// MTU asks the system for the current MTU in bytes.
	MTU() (int, error)
	// SetMTU changes it; 68 to 65535.
	SetMTU(mtu int) error
	// BatchSize is the number of packets that one Read can make good use of.
	BatchSize() int
	// Stats counts since Open.
	Stats() Stats
	// Close ends the device and unblocks Read. Only the first call does anything. A device that is not persistent
	// vanishes from the system with it.
	Close() error
}

// Stats are running counts of one Device. Packets that were split or coalesced count as the small ones.
type Stats struct {
	ReadPackets   uint64 `json:"read_packets"`
	ReadCalls     uint64 `json:"read_calls"` // system calls that returned a packet
	WritePackets  uint64 `json:"write_packets"`
	WriteCalls    uint64 `json:"write_calls"`    // system calls that took a packet
	DropTooLong   uint64 `json:"drop_too_long"`  // read: larger than the room offered
	DropMalformed uint64 `json:"drop_malformed"` // read or write: not a sound IPv4 or IPv6 packet, or an impossible virtio header
	DropRefused   uint64 `json:"drop_refused"`   // write: the kernel did not take it
}

// Options say how to open a device. The zero value is a device with the system's MTU and no offload.
type Options struct {
	// MTU in bytes to set at once; 0 leaves the system's (1500).
	MTU int
	// Offload asks for a device with virtio headers, whose Read and Write move whole TCP super-packets per system call and
	// leave transport checksums unfinished. Where it cannot be had the plain device is opened instead.
	Offload bool
	// Driver restricts the choice, for tests and comparisons. DriverAny tries what is there, best first.
	Driver Driver
}

// Driver names an implementation of Device.
type Driver string

// The drivers.
const (
	DriverAny     Driver = ""        // offload if asked for, plain, then water
	DriverOffload Driver = "offload" // Linux: own descriptor with virtio headers
	DriverPlain   Driver = "plain"   // Linux: own descriptor, one packet per system call
	DriverWater   Driver = "water"   // github.com/songgao/water, every system it knows
)

// BatchSize of the devices here: a 64 KB super-packet makes 46 packets of 1448 bytes of payload, so this holds two.
const batchSize = 128

// SuperRoom is the room for any packet or super-packet: the IP length fields have 16 bits.
const SuperRoom = maxSuper

// maxSuper bounds a super-packet in bytes.
const maxSuper = 65535

// Bounds of an MTU: RFC 791 asks every link for 68, and an IPv4 packet cannot pass 65535.
const (
	minMTU = 68
	maxMTU = 65535
)

// maxName is the longest interface name in bytes: IFNAMSIZ less the final 0, on Linux and the BSDs alike.
const maxName = 15

// errClosed is what a closed device answers.
var errClosed = net.ErrClosed

// ErrUnsupported is wrapped by Open when a driver does not exist on this system.
var ErrUnsupported = errors.New("not supported on this system")

// opener makes a device of one driver.
type opener func(name string, opts Options) (Device, error)

// Open makes the TUN device name, or attaches to it if it exists and nobody holds it. A name that ends in "%d" lets the
// system choose the number; the empty name leaves all to the system, and so does any name a system has no way to give (see Name). Addresses and link state are not touched.
//
// The device is made in the network namespace of the calling thread; the returned Device stays with it, whatever thread
// calls it later. The error says of each driver tried why it failed, the same reason once.
func Open(name string, opts Options) (Device, error) {
	if opts.MTU != 0 && (opts.MTU < minMTU || opts.MTU > maxMTU) {
		return nil, fmt.Errorf("open tun %q: MTU %d is out of range: use %d to %d", name, opts.MTU, minMTU, maxMTU)
	}
	if len(name) > maxName {
		return nil, fmt.Errorf("open tun %q: the name is too long: use at most %d bytes", name, maxName)
	}
	var drivers []Driver
	switch opts.Driver {
	case DriverAny:
		if opts.Offload {
			drivers = append(drivers, DriverOffload)
		}
		drivers = append(drivers, DriverPlain, DriverWater)
	case DriverOffload, DriverPlain, DriverWater:
		drivers = []Driver{opts.Driver}
	default:
		return nil, fmt.Errorf("open tun %q: unknown driver %q: use offload, plain or water", name, opts.Driver)
	}
	var reasons []error
	for _, d := range drivers {
		dev, err := openers[d](name, opts)
		if err == nil {
			return dev, nil
		}
		// A driver that this system does not have, or that failed like one before it, adds nothing.
		if len(drivers) > 1 && errors.Is(err, ErrUnsupported) || sameReason(reasons, err) {
			continue
		}
		reasons = append(reasons, fmt.Errorf("%s driver: %w", d, err))
	}
	err := reasons[0]
	for _, more := range reasons[1:] {
		err = fmt.Errorf("%w; %w", err, more)
	}
	return nil, fmt.Errorf("open tun %q: %w", name, err)
}

// sameReason tells whether the system's answer behind err is behind one of reasons already.
func sameReason(reasons []error, err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	for _, r := range reasons {
		if errors.Is(r, errno) {
			return true
		}
	}
	return false
}
