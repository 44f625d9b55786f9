package tun

import "sync/atomic"

// counters is Stats while it counts.
type counters struct {
	readPackets, readCalls, writePackets, writeCalls atomic.Uint64
	dropTooLong, dropMalformed, dropRefused          atomic.Uint64
}

// Stats implements Device.
func (c *counters) Stats() Stats {
	return Stats{
		ReadPackets:   c.readPackets.Load(),
		ReadCalls:     c.readCalls.Load(),
		WritePackets:  c.writePackets.Load(),
		WriteCalls:    c.writeCalls.Load(),
		DropTooLong:   c.dropTooLong.Load(),
		DropMalformed: c.dropMalformed.Load(),
		DropRefused:   c.dropRefused.Load(),
	}
}
