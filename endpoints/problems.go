package endpoints

import (
	"fmt"
	"time"

	"github.com/bondd/bondd/tunnel"
)

const (
	// lossyShare is the loss that is worth a sentence: a good line loses a hundredth of that, and one that loses more costs
	// every connection that does not go as a stream.
	lossyShare = 0.05
	// lossyDatagrams is how many datagrams it takes to speak of a share.
	lossyDatagrams = 1000
	// slowQueue is the delay of our own datagrams that is more than the controllers mean to make.
	slowQueue = 200 * time.Millisecond
)

// findProblems says what is wrong in plain sentences, the worst first: what it is, and where to look. Nothing is wrong when it is empty.
func (st *Status) findProblems() []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if st.State == "down" {
		say("The bond is down: %s.", st.Reason)
	}
	if h := st.Hello; h != nil && h.Error != "" {
		say("The last hello with the exit failed: %s.", h.Error)
	}
	for i, x := range st.Exits {
		switch {
		case !x.InUse && x.State == "down":
			say("Exit %s does not answer: %s.", x.Name, x.Reason)
		case x.InUse && i > 0:
			say("Exit %s is used instead of %s.", x.Name, st.Exits[0].Name)
		}
	}
	for _, r := range st.Rules {
		switch r.By {
		case r.Exit:
		case "refused":
			say("What is %s is refused: exit %s is out of reach.", r.For, r.Exit)
		default:
			say("What is %s leaves by the default exit: exit %s is out of reach.", r.For, r.Exit)
		}
	}
	if st.Hello != nil && len(st.Uplinks) == 0 {
		say("There is no uplink: no interface has a default route, or none of the [[uplink]] entries exists.")
	}
	for _, u := range st.Uplinks {
		switch {
		case !u.Up:
			say("Uplink %s is down: interface %s has no link.", u.Name, u.Interface)
		case !u.IPv4 && !u.IPv6:
			say("Uplink %s cannot be used: interface %s has no address, or no route out.", u.Name, u.Interface)
		}
	}
	for i := range st.Sessions {
		s := &st.Sessions[i]
		if s.Stats == nil {
			say("The session with %s does not answer; the processor may be overloaded.", s.Peer)
			continue
		}
		for _, p := range s.Stats.Paths {
			name := s.PathName(p.ID)
			switch {
			case p.State == "down" || p.State == "suspect":
				say("Path %s does not answer.", name)
			case p.State == "validating" && time.Duration(s.Age*float64(time.Second)) > proveTime:
				say("Path %s has never answered: is UDP let through to %s?", name, p.Remote)
			case p.SentDatagrams >= lossyDatagrams && float64(p.LostDatagrams) > lossyShare*float64(p.SentDatagrams):
				say("Path %s loses %.0f %% of what is sent.", name, 100*float64(p.LostDatagrams)/float64(p.SentDatagrams))
			case p.State == "up" && p.Queue > slowQueue:
				say("Path %s is full: what is sent over it waits %d ms.", name, p.Queue.Milliseconds())
			}
		}
	}
	if s := st.Streams; s != nil && st.State == "up" && s.Interception != "" && s.Interception != "on" && s.Interception != "off by configuration" {
		say("Connections go as packets, not as streams: %s.", s.Interception)
	}
	if d := st.DNS; d != nil && st.State == "up" && len(d.Asks) == 0 {
		say("DNS queries of the LAN cannot be answered: the exit answers none; write dns.servers.")
	}
	if st.TUN.MTU == 0 {
		say("The TUN device is gone.")
	}
	return out
}

// PathName is what a path is called: its name, or, at an exit, which learns paths without their names, the peer's and a number.
func (s *SessionStatus) PathName(id tunnel.PathID) string {
	if s.Stats != nil {
		for _, p := range s.Stats.Paths {
			if p.ID == id && p.Name != "" {
				return p.Name
			}
		}
	}
	return fmt.Sprintf("%s/%d", s.Peer, id)
}
