package dns

import (
	"container/list"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxTTL bounds how long an answer counts as fresh, whatever it says (RFC 8767 §4: a day is plenty).
	maxTTL = 24 * time.Hour
	// maxNegative bounds the same for what does not exist (RFC 2308 §5).
	maxNegative = 3 * time.Hour
	// maxStale is how long an answer is kept that is not fresh any more (RFC 8767 §5.11: 1 to 3 days).
	maxStale = 24 * time.Hour
	// staleTTL is what a stale answer says (RFC 8767 §4).
	staleTTL = 30 * time.Second
	// maxEntry is the greatest answer that is kept, in bytes: the cache holds at most as many of those as it has entries.
	maxEntry = 4096
)

// key is a question: what makes two of them the same.
type key struct {
	name        string // in lower case
	qtype       uint16
	class       uint16
	dnssec, raw bool // DO: signatures are wanted; CD: unchecked data too
}

func keyOf(q *dns.Msg) key {
	k := key{name: strings.ToLower(q.Question[0].Name), qtype: q.Question[0].Qtype, class: q.Question[0].Qclass, raw: q.CheckingDisabled}
	if o := q.IsEdns0(); o != nil {
		k.dnssec = o.Do()
	}
	return k
}

// entry is one answer that is kept.
type entry struct {
	key   key
	msg   *dns.Msg // is never changed
	at    time.Time
	fresh time.Duration
}

// cache keeps answers, as many as it has room for. It has no lock: its owner has.
type cache struct {
	size int
	by   map[key]*list.Element
	used list.List // of *entry, what was asked for last in front
}

func newCache(size int) *cache { return &cache{size: size, by: make(map[key]*list.Element)} }

// get returns the answer to a question with its times to live as they are now, and whether it is fresh; nil if there is none that can be used.
func (c *cache) get(k key, now time.Time) (msg *dns.Msg, fresh bool) {
	el := c.by[k]
	if el == nil {
		return nil, false
	}
	e := el.Value.(*entry)
	age := now.Sub(e.at)
	switch {
	case age < 0 || age >= e.fresh+maxStale: // the clock was set, or it is too old
		c.drop(el)
		return nil, false
	case age < e.fresh:
		c.used.MoveToFront(el)
		return aged(e.msg, age), true
	}
	c.used.MoveToFront(el)
	return outdated(e.msg), false
}

// put keeps an answer, if it is one to keep.
func (c *cache) put(k key, msg *dns.Msg, now time.Time) {
	fresh, ok := lifetime(msg)
	if !ok || c.size == 0 || msg.Len() > maxEntry {
		return
	}
	if el := c.by[k]; el != nil {
		c.drop(el)
	}
	for c.used.Len() >= c.size {
		c.drop(c.used.Back())
	}
	c.by[k] = c.used.PushFront(&entry{k, msg.Copy(), now, fresh})
}

func (c *cache) drop(el *list.Element) {
	delete(c.by, el.Value.(*entry).key)
	c.used.Remove(el)
}

// lifetime is how long an answer may be given again; false if it may not.
func lifetime(msg *dns.Msg) (time.Duration, bool) {
	if msg.Truncated || msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError {
		return 0, false
	}
	least := maxTTL
	for _, rr := range msg.Answer {
		least = min(least, time.Duration(rr.Header().Ttl)*time.Second)
	}
	if len(msg.Answer) == 0 || msg.Rcode == dns.RcodeNameError { // RFC 2308 §5: only with the zone's word for how long
		var soa *dns.SOA
		for _, rr := range msg.Ns {
			if s, ok := rr.(*dns.SOA); ok {
				soa = s
			}
		}
		if soa == nil {
			return 0, false
		}
		least = min(least, maxNegative, time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second)
	}
	return least, least > 0
}

// aged is a copy with its times to live counted down.
func aged(msg *dns.Msg, age time.Duration) *dns.Msg {
	return retimed(msg, func(ttl uint32) uint32 { return max(ttl, uint32(age/time.Second)) - uint32(age/time.Second) })
}

// outdated is a copy that is to be used for a moment only.
func outdated(msg *dns.Msg) *dns.Msg {
	return retimed(msg, func(uint32) uint32 { return uint32(staleTTL / time.Second) })
}

func retimed(msg *dns.Msg, f func(uint32) uint32) *dns.Msg {
	m := msg.Copy()
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT { // there the field means something else
				h.Ttl = f(h.Ttl)
			}
		}
	}
	return m
}
