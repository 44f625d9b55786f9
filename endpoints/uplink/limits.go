package uplink

// Numbers by which everything we put into the kernel is recognised, by us, by
// a successor that sweeps after a crash, and by a person reading `ip rule`.
const (
	// MarkBase is the mark of outer sockets, the uplink's index in its low bits.
	MarkBase uint32 = 0xb0dd0000
	// MarkMask covers the part of MarkBase that is ours whatever the uplink.
	MarkMask uint32 = 0xffff0000

	// TableBase + index is the table of an uplink; TableBond sends into the TUN.
	TableBase = 45000
	TableBond = 45999
	// MaxIndex is the last index whose table lies below TableBond.
	MaxIndex = TableBond - TableBase - 1

	// TableExit + number is the table of an exit that has a TUN of its own, and MarkExit + number the mark of what goes there (endpoints/nft makes it).
	TableExit        = 46000
	MarkExit  uint32 = 0xb0df0000
	// MaxExit is the last number of such an exit.
	MaxExit = 99

	// Protocol is the origin written on our routes and rules (RTPROT, FRA_PROTOCOL).
	// 177 is not in /etc/iproute2/rt_protos nor in use by a known routing daemon.
	Protocol = 177

	// Priorities of our rules. The order is what matters:
	// an outer datagram knows its uplink by its mark, and is refused rather than
	// sent into the TUN (a datagram inside itself) when that uplink is gone; then
	// whatever the machine has a specific route for (the LAN); then answers from
	// an uplink's own address leave by that uplink; then what a rule has marked goes to
	// its exit; the rest goes into the bond.
	PriorityMark     = 17700
	PriorityMarkLost = 17701
	PriorityMain     = 17710
	PriorityFrom     = 17720
	PriorityExit     = 17725
	PriorityBond     = 17730

	// PriorityFirst and PriorityLast bound the rules that Sweep looks at.
	PriorityFirst = 17700
	PriorityLast  = 17799

	// metricDefault6 and metricConnected6 are what the kernel itself gives to such
	// IPv6 routes when no metric is stated (IP6_RT_PRIO_USER, IP6_RT_PRIO_ADDRCONF).
	metricDefault6   = 1024
	metricConnected6 = 256
	// metricRefuse puts the "unreachable" route behind every other of its table.
	// Arbitrary; it must fit a signed 32-bit integer.
	metricRefuse = 1_000_000
)
