// Package cc is the congestion controller of one path: a model of the path's
// rate and round trip in the manner of BBR, with a bound on the queue it may
// cause, and a contest mode for links whose queue a neighbour holds. It is a
// pure machine: the owner of the path brings the time and the news of every
// acknowledgement, and asks for a window and a pacing rate. It has no timers
// of its own; everything happens on acknowledgements.
//
// # States
//
//	          a queue, 3 flat rounds,
//	          loss without growth, CE            what is in flight
//	┌─────────┐             ┌───────┐            fits the path
//	│ startup │────────────►│ drain │─────────────────┐
//	│ × 2.77  │             │ × 0.5 │                 │
//	└─────────┘             └───────┘                 ▼
//	┌────────────┐   fits the path again         ┌────────┐   every second    ┌──────────────────────┐
//	│    down    │──────────────────────────────►│ cruise │──────────────────►│          up          │
//	│   × 0.75,  │◄──────────────────────────────│ × 1.0  │                   │ × 1.15, 1.25, 1.5, 2 │
//	│ beyond the │   a queue stands              └────────┘                   │   while the rate     │
//	│ bound 0.5  │                                                            │       follows        │
//	│            │◄───────────────────────────────────────────────────────────│                      │
//	└────────────┘   a queue stands, or nothing comes of it                   └──────────────────────┘
//
//	cruise, up, down ──► probe-rtt (half the path) ──► cruise, when the base is unproven or was not seen for long
//
// Over these lies the contest, entered when a queue stays for a second although
// we hold no more than the path:
//
//	┌────────┐ squeezed ┌─────────────────┐ overflow, or a queue beyond ┌────────────────┐
//	│ polite │─────────►│ firm            │────────────────────────────►│ greedy         │
//	│        │          │ (BBR version 1) │ what BBRs leave behind      │ (CUBIC window) │
//	└────────┘          └─────────────────┘                             └────────────────┘
//	     ▲  no queue for 400 ms    │       no queue for 400 ms, the old rate   │
//	     └─────────────────────────┴── is ours again, or the elasticity probe ─┘
//	                                   shows that all of the queue is ours
//
// # What differs from BBR, and why
//
//   - The queue is measured, by one-way delay, not inferred. A standing queue
//     (the minimum of a moment that outlasts jitter) ends start-up and probes,
//     corrects an estimate that is too high within a round trip, and beyond
//     max(15 ms, a quarter of the base) closes the window from 2 to 1.1 paths.
//   - Loss without a queue is not congestion. It is made up for (to 15 %),
//     unless a short spell of sending less ends it: then it is a policer, and
//     its rate is accepted.
//   - A probe for more begins with a few per cent and grows while the rate
//     follows, so that a full path suffers little and a doubled one is found.
//   - The base round trip is proven once with half a path in flight; later
//     probes happen only when it was not seen for 5 s, in turns between paths
//     (ProbeRTTAt). Unproven bases are probed at common instants of the owner's
//     clock, so that paths that share a link unknowingly are quiet together.
//   - A longer road is told from a queue: more in flight brings more through
//     and no more delay.
//   - App-limited samples may raise the estimate and never lower it.
//
// # Files
//
// cc.go the interface, bbr.go the machine, model.go what is measured and the
// verdicts on it, filter.go windowed extremes, startup.go, probe.go, proberrt.go
// the states, loss.go random loss and policers, window.go window and pacing;
// rival.go the contest and its levels, firm.go, greedy.go, elastic.go and
// steer.go its means, road.go the longer road, lap.go round trips in sums.
//
// # Known weaknesses
//
//   - A neighbour costs the first second or two, and in a full queue of a
//     second the climb to a fair share takes 10 to 30 s. While greedy we help
//     to fill that queue: fairness and delay cannot both be had there.
//   - Contest mode looks at one neighbour's worth: against many loss-based
//     flows it takes up to 45 % of the link, as BBR does.
//   - Paths of one owner that share a link without being grouped stay polite
//     only because they share a clock; two owners on one link may find each
//     other greedy until both meet a quiet moment.
//   - Jitter beyond 20 ms that lasts longer than 140 ms is taken for a queue.
//   - A rate that changes by a third several times a second is followed at
//     about four fifths of its mean.
//   - On paths beyond 300 ms a doubled rate takes 5 to 10 round trips.
//   - Congestion marks count as a queue, once; there is no L4S response.
//
// References: draft-ietf-ccwg-bbr (start-up gain, two-cycle maximum),
// draft-cardwell-iccrg-bbr-congestion-control-00 (version 1, the firm level),
// draft-cheng-iccrg-delivery-rate-estimation (samples), RFC 9438 (CUBIC), RFC
// 9002 (loss detection by the caller), RFC 6928 (initial window), RFC 3168 (CE),
// Goyal et al., Elasticity Detection, SIGCOMM 2022 (the idea of elastic.go).
package cc
