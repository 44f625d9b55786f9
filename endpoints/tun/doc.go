// Package tun is the one place that touches TUN devices. It moves IP packets between the kernel and the engine in batches,
// and knows nothing of sessions.
//
// # Drivers
//
//   - offload (Linux): our own descriptor with IFF_VNET_HDR. The kernel hands over TCP super-packets, and UDP ones since Linux 6.2
//     (USO), of up to 64 KB with one unfinished checksum; Read hands them on whole where there is room, else split at the segment
//     size; Write joins adjacent packets of one flow again.
//     One system call then moves some 45 packets, which is where nearly all the cost of a TUN device is.
//   - plain (Linux): our own descriptor, one packet per system call.
//   - water: github.com/songgao/water, where our descriptor is refused and on other systems.
//
// Open tries them in that order. Packet carries the virtio notion of an unfinished checksum through all of them; drivers without
// virtio headers never produce one and finish those they are given.
//
// # Goroutines and locks
//
// The package starts none. Descriptors are non-blocking and wait in the runtime's poller, so Close unblocks Read.
// One lock for reading and one for writing guard the scratch memory of a device.
//
// # Namespaces
//
// A device and its control socket are made in the network namespace of the thread that calls Open, and are used from any thread afterwards.
//
// # Known weaknesses
//
// Only adjacent packets are joined: flows that alternate packet by packet go down singly. One queue per device. A complete checksum has to be verified
// before its packet may be joined to others, which costs one pass over the payload; packets with unfinished checksums
// cost none. Interface names are taken at Open: a device that is renamed later answers no MTU call.
//
// References: virtio 1.2 §5.1.6 (header, checksum and segmentation offload); Linux Documentation/networking/tuntap;
// RFC 791, RFC 8200 (IP headers), RFC 9293 (TCP header), RFC 1071 and RFC 1624 (Internet checksum), RFC 6864 (IPv4 ID), RFC 3168 §6.1.2 (CWR).
package tun
