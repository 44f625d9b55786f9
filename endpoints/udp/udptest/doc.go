// Package udptest is a network of UDP sockets for tests that exists only in memory: hosts with addresses, sockets on them, and a hook that
// decides for every datagram how long it takes, whether it is lost, marked, copied or rewritten, or refused to its sender.
//
// It starts no goroutine and waits only on channels and timers, so it works inside testing/synctest bubbles: a ReadBatch that waits is
// durably blocked and time jumps to the next arrival. Make the Network inside the bubble that uses it.
//
// Datagrams with the same arrival time are delivered in the order they were sent, so a test whose senders are ordered
// is deterministic. Without a hook every datagram arrives at once.
package udptest
