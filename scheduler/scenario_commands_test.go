package scheduler

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// args are the words of a command after its name: numbers that stand alone, switches, and key=value.
type args struct {
	path  PathID
	words []string
	keys  map[string]string
	used  map[string]bool
	err   error
}

func parseArgs(words []string) *args {
	a := &args{keys: map[string]string{}, used: map[string]bool{}}
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok {
			a.keys[k] = v
		} else {
			a.words = append(a.words, w)
		}
	}
	return a
}

func (a *args) fail(err error) {
	if a.err == nil && err != nil {
		a.err = err
	}
}

func (a *args) has(key string) bool { _, ok := a.keys[key]; return ok }

// is reports whether a switch is given.
func (a *args) is(word string) bool {
	a.used[word] = true
	return slices.Contains(a.words, word)
}

func (a *args) text(key, def string) string {
	a.used[key] = true
	if v, ok := a.keys[key]; ok {
		return v
	}
	return def
}

func (a *args) int(key string, def int) int {
	n, err := strconv.Atoi(a.text(key, strconv.Itoa(def)))
	a.fail(err)
	return n
}

func (a *args) time(key string, def time.Duration) time.Duration {
	d, err := time.ParseDuration(a.text(key, def.String()))
	a.fail(err)
	return d
}

// rate is in bytes/s, written as 50mbit.
func (a *args) rate(key string, def float64) float64 {
	v, ok := strings.CutSuffix(a.text(key, ""), "mbit")
	if !ok {
		return def
	}
	f, err := strconv.ParseFloat(v, 64)
	a.fail(err)
	return f * 125_000
}

// size is in bytes, written as 1400 or 64kB.
func (a *args) size(key string, def int) int {
	v, kilo := strings.CutSuffix(a.text(key, strconv.Itoa(def)), "kB")
	n, err := strconv.Atoi(v)
	a.fail(err)
	if kilo {
		n *= 1000
	}
	return n
}

// numbers are 3 or 3..7 or several with commas.
func (a *args) numbers(key string) (out []uint64) {
	for part := range strings.SplitSeq(a.text(key, ""), ",") {
		first, last, ok := strings.Cut(part, "..")
		if !ok {
			last = first
		}
		f, err := strconv.ParseUint(first, 10, 64)
		a.fail(err)
		l, err := strconv.ParseUint(last, 10, 64)
		a.fail(err)
		for n := f; n <= l && a.err == nil; n++ {
			out = append(out, n)
		}
	}
	return out
}

// rest complains about what nobody asked for.
func (a *args) rest() error {
	for k := range a.keys {
		if !a.used[k] {
			a.fail(fmt.Errorf("what is %s=?", k))
		}
	}
	for _, w := range a.words {
		_, number := strconv.Atoi(w)
		_, duration := time.ParseDuration(w)
		if number != nil && duration != nil && !a.used[w] {
			a.fail(fmt.Errorf("what is %q?", w))
		}
	}
	return a.err
}

// do carries out one command.
func (s *player) do(line string) error {
	words := strings.Fields(line)
	a := parseArgs(words[1:])
	var p *Path
	if len(a.words) > 0 {
		if n, err := strconv.Atoi(a.words[0]); err == nil {
			a.path = PathID(n)
			p = s.b.Path(a.path)
		}
	}
	needsPath := []string{"learn", "busy", "ack", "lose", "answers", "silent", "fail", "close", "prove", "revalidate", "backup", "mtu", "recv", "fact"}
	if p == nil && slices.Contains(needsPath, words[0]) {
		return fmt.Errorf("no such path")
	}
	if err := s.command(words[0], a, p); err != nil {
		return err
	}
	if err := a.rest(); err != nil {
		return err
	}
	return s.turnAndCheck()
}

func (s *player) command(name string, a *args, p *Path) error {
	switch name {
	case "policy": // policy aggregate|redundant|standby [retry=TIME]
		// Of the whole Bond; stands first.
		for i, w := range []string{"aggregate", "redundant", "standby"} {
			if a.is(w) {
				s.b.cfg.Policy = Policy(i)
			}
		}
		s.b.cfg.Retry = a.time("retry", s.b.cfg.Retry)

	case "path": // path ID [rtt=TIME] [delay=TIME] [jitter=TIME] [rate=NUMmbit] [group=N] [mtu=BYTES] [backup] [metered] [unproven]
		// A new path, proven and well known: see learn. Each is its own group unless said otherwise. Without rate and
		// rtt nothing is known of it, and it is probed at once.
		cfg := PathConfig{Group: uint8(a.int("group", int(a.path))), MTU: a.int("mtu", 1472), Backup: a.is("backup"), Metered: a.is("metered")}
		p = s.b.AddPath(s.now, a.path, cfg)
		s.peers = append(s.peers, &peer{never: map[uint64]bool{}, told: map[uint64]bool{}})
		if !a.is("unproven") {
			s.b.Proven(s.now, p)
			s.b.Changes()
		}
		if a.has("rate") {
			s.learn(a, p)
			p.probeAt = s.now + p.probeIdleWait()
		}

	case "learn": // learn ID [rtt=TIME] [delay=TIME] [jitter=TIME] [rate=NUMmbit] [loss=PERCENT]
		// What the estimators of the path say from now on. delay is one way, half of rtt unless given; jitter is how
		// far its upper quantile lies above it. Pacing keeps the rate exactly.
		s.learn(a, p)

	case "flow": // flow KEY ordered|unordered|loose [bulk|young|deaf]
		// Declares a flow: it has long been a bulk transfer, or one that is neither bulk nor sparse, or bulk whose sender heeds no drops. Flows
		// that are not declared are ordered and find their own kind.
		key := FlowKey(a.path)
		for i, w := range []string{"unordered", "ordered", "loose"} {
			if a.is(w) {
				s.kinds[key] = Class(i)
			}
		}
		deaf := a.is("deaf")
		if bulk := a.is("bulk") || deaf; a.is("young") || bulk {
			f := s.b.flowFor(s.now, key, s.class(key))
			f.bulk, f.sparse, f.granted = bulk, false, 1000
			f.since, f.arrived = s.now, 2*sparseBytes
			f.hearing.deaf, f.hearing.since = deaf, s.now
		}

	case "send": // send flow=KEY [n=COUNT] [size=BYTES] [ect]
		// Packets come from the TUN device, all at once.
		key := FlowKey(a.int("flow", 0))
		for range a.int("n", 1) {
			s.handle++
			s.keys[s.handle] = key
			s.b.Enqueue(s.now, key, s.class(key), s.handle, a.size("size", 1400), a.is("ect"))
		}

	case "offer": // offer stream=KEY bytes=BYTES window=BYTES [more]
		// A stream has so many bytes ready beyond those sent, of which the peer takes window; more: others will follow.
		key := FlowKey(a.int("stream", 0))
		s.b.Offer(s.now, key, a.size("bytes", 0), a.size("window", 1<<30), a.is("more"))
		if f := s.b.byKey[key]; a.is("bulk") {
			f.bulk, f.sparse = true, false
		}

	case "end": // end stream=KEY
		// The stream is over; nothing of it is sent again.
		s.b.EndStream(FlowKey(a.int("stream", 0)))

	case "busy": // busy ID TIME
		// The pacer of the path is taken for so long.
		d, err := time.ParseDuration(a.words[1])
		a.fail(err)
		p.pause(s.now + d)

	case "advance": // advance TIME [sum]
		// Time passes. Whatever falls due is done in its moment. sum: of data sent, only how much in all.
		d, err := time.ParseDuration(a.words[0])
		if err != nil {
			return err
		}
		a.used[a.words[0]] = true
		s.summing = a.is("sum")
		defer s.sum()
		return s.advance(d)

	case "lose": // lose ID pn=NUMBERS
		// These datagrams will never arrive, nor count in a later "ack ID".
		for _, n := range a.numbers("pn") {
			s.peers[a.path].never[n] = true
		}

	case "ack": // ack ID [pn=NUMBERS] [held=TIME] [owd=TIME] [ce=COUNT]
		// The peer has got these datagrams, or all sent so far that are not lost, and says so now. The acknowledgement
		// speaks of everything it has got on the path. held: how long it waited; ce: congestion marks seen in all.
		q := s.peers[a.path]
		if a.has("pn") {
			for _, n := range a.numbers("pn") {
				q.got.add(n)
			}
		} else {
			for n := p.log.base; n < p.log.next; n++ {
				if !q.never[n] {
					q.got.add(n)
				}
			}
		}
		return s.acknowledge(a.path, a.time("held", 0), uint64(a.int("ce", 0)), a.time("owd", q.owd))

	case "answers", "silent": // answers ID, silent ID
		// From now on the peer acknowledges what is sent on the path, each datagram one round trip after it left; or
		// it does so no longer, nor for what is on its way.
		q := s.peers[a.path]
		q.answers, q.due = name == "answers", nil

	case "recv": // recv ID [n=COUNT] [pn=NUMBERS] [ce] [quiet]
		// Datagrams of the peer arrive, the next n or those named. quiet: they do not ask for an acknowledgement.
		q := s.peers[a.path]
		var pns []uint64
		if a.has("pn") {
			pns = a.numbers("pn")
		} else {
			for range a.int("n", 1) {
				pns = append(pns, q.next)
				q.next++
			}
		}
		ecn := uint8(0)
		if a.is("ce") {
			ecn = 3
		}
		for _, n := range pns {
			s.b.Received(s.now, s.now, p, n, 1400, q.owd, !a.is("quiet"), ecn)
			q.next = max(q.next, n+1)
			if err := s.turnAndCheck(); err != nil {
				return err
			}
		}

	case "fact": // fact ID name=N
		// The session says something on the path that has to arrive.
		s.event("path %d: fact %d, pn %d", a.path, a.int("name", 0), p.NextPN())
		s.b.Record(s.now, p, Datagram{Size: 60, Eliciting: true, Unpaced: true, Chunks: []Chunk{{Kind: ChunkControl, Seq: uint64(a.int("name", 0))}}})

	case "prove": // prove ID
		// The path has answered a challenge.
		s.b.Proven(s.now, p)

	case "fail": // fail ID
		// The operating system says that the path is gone.
		s.b.Fail(s.now, p)

	case "revalidate": // revalidate ID
		// The path has a new address.
		s.b.Revalidate(s.now, p)

	case "close": // close ID
		s.b.Close(s.now, p)

	case "backup": // backup ID on|off
		a.is("off")
		s.b.SetTerms(s.now, p, Terms{Backup: a.is("on"), Metered: p.Config.Metered})

	case "mtu": // mtu ID BYTES
		n, err := strconv.Atoi(a.words[1])
		a.fail(err)
		p.SetMTU(n)

	case "show": // show [queue] [active] [flow=KEY] [arrivals=BYTES]
		// What waits; the paths in use; what kind of flow this is; when so many bytes of an ordered flow would arrive.
		s.show(a)

	default:
		return fmt.Errorf("no such command")
	}
	return nil
}

func (s *player) class(key FlowKey) Class {
	if c, ok := s.kinds[key]; ok {
		return c
	}
	return Ordered
}

// learn sets what is known of a path, to the exact values.
func (s *player) learn(a *args, p *Path) {
	q := s.peers[p.ID]
	q.rtt = a.time("rtt", q.rtt)
	if a.has("rtt") {
		q.owd = q.rtt / 2
		p.rtt = rttEstimator{latest: q.rtt, smoothed: q.rtt, samples: 1}
	}
	q.owd = a.time("delay", q.owd)
	if jitter := a.time("jitter", 0); a.has("rtt") || a.has("delay") || a.has("jitter") {
		p.out.has, p.out.mean, p.out.high = true, q.owd, q.owd+jitter
		p.base.Queue(s.now, q.owd, q.rtt)
	}
	if r := a.rate("rate", 0); r > 0 {
		p.ctl.SetMaxRate(r)
		p.learnRate(s.now, r, q.rtt)
	}
	if a.has("loss") {
		percent, err := strconv.ParseFloat(a.text("loss", ""), 64)
		a.fail(err)
		p.loss = percent / 100
	}
	s.b.refresh(s.now)
}

func (s *player) show(a *args) {
	if a.is("queue") {
		s.event("%d bytes wait", s.b.Backlog())
	}
	if a.is("active") {
		var ids []string
		for _, p := range s.b.active {
			ids = append(ids, strconv.Itoa(int(p.ID)))
		}
		s.event("in use: %s", strings.Join(ids, " "))
	}
	if a.has("flow") {
		key := FlowKey(a.int("flow", 0))
		kind := "neither sparse nor bulk"
		switch f := s.b.byKey[key]; {
		case f == nil:
			kind = "unknown"
		case f.bulk:
			kind = "bulk"
		case f.sparse:
			kind = "sparse"
		}
		s.event("flow %d is %s", key, kind)
	}
	if size := a.size("arrivals", 0); size > 0 {
		for _, p := range s.b.active {
			at, _ := p.arrival(s.now, size+overhead, true)
			s.event("path %d: %d bytes would arrive in %v", p.ID, size, brief(at))
		}
	}
}
