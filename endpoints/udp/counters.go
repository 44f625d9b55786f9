package udp

import "sync/atomic"

// counters is Stats while it counts.
type counters struct {
	readDatagrams, readCalls, writeDatagrams, writeCalls atomic.Uint64
	dropTooLong, dropMalformed, kernelDrops              atomic.Uint64
}

func (c *counters) stats() Stats {
	return Stats{
		ReadDatagrams:  c.readDatagrams.Load(),
		ReadCalls:      c.readCalls.Load(),
		WriteDatagrams: c.writeDatagrams.Load(),
		WriteCalls:     c.writeCalls.Load(),
		DropTooLong:    c.dropTooLong.Load(),
		DropMalformed:  c.dropMalformed.Load(),
		KernelDrops:    c.kernelDrops.Load(),
	}
}
