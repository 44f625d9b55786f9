// Package tuntest is a TUN device for tests that exists only in memory. The test plays the kernel: it injects packets
// that the daemon then reads, and receives those that the daemon writes.
//
// It is made of channels and starts no goroutine, so it works inside testing/synctest bubbles: a Read that waits is
// durably blocked. Make the Device inside the bubble that uses it.
//
// Known weakness: it neither splits nor joins packets, so a run of packets is read as it was injected.
package tuntest
