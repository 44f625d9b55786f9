package uplink

// Traffic is what an interface has carried since it was made.
type Traffic struct {
	Ifindex int
	Boot    string // names the boot of the machine; empty where that is not known
	Bytes   uint64 // both directions
}
