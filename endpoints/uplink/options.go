package uplink

// Options say whose settings a System keeps.
type Options struct {
	// TUN is the name of the device; it also names the state file.
	TUN string
	// State is the file in which values to restore are kept until they are
	// restored. Empty: /run/bondd/TUN-NAMESPACE.json, where NAMESPACE is the
	// kernel's own number of the network namespace, so that instances in different
	// namespaces never share a file; where /run is not writable, the same below
	// the directory for temporary files.
	State string
}
