package dns

import (
	"context"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// questionTime bounds one question to the servers: some five tries, which outlast the change from one uplink to another.
	questionTime = 8 * time.Second
	// staleAfter is when a client gets a stale answer rather than none (RFC 8767 §5: 1.8 s, before the client gives up).
	staleAfter = 1800 * time.Millisecond
	// maxQuestions bounds the questions under way.
	maxQuestions = 512
)

// Exchange asks servers and returns the answer to q. Its own number is the answer's business; the answer is not changed afterwards.
type Exchange func(ctx context.Context, q *dns.Msg) (*dns.Msg, error)

// Stats are counters of a Resolver.
type Stats struct {
	Queries uint64 `json:"queries"`
	Cached  uint64 `json:"cached"` // answered from the cache
	Stale   uint64 `json:"stale"`  // with an answer that was not fresh any more
	Failed  uint64 `json:"failed"` // with SERVFAIL
	Entries int    `json:"entries"`
}

// Resolver answers queries from its cache, and by asking. Any goroutine may use it.
type Resolver struct {
	ask Exchange

	mu    sync.Mutex
	cache *cache
	open  map[key]*question
	stats Stats
	over  bool
	wg    sync.WaitGroup // questions
	ctx   context.Context
	stop  context.CancelFunc
}

// question is one that is being asked; all who want to know wait for the same.
type question struct {
	done   chan struct{} // closed when answer is there
	answer *dns.Msg      // nil: there is none
}

// NewResolver makes a resolver with room for entries answers; 0 keeps none.
func NewResolver(entries int, ask Exchange) *Resolver {
	r := &Resolver{ask: ask, cache: newCache(entries), open: make(map[key]*question)}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// Close ends the questions under way.
func (r *Resolver) Close() {
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	r.stop()
	r.wg.Wait()
}

// Stats returns the counters as they are now.
func (r *Resolver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Entries = r.cache.used.Len()
	return s
}

// Answer returns what to say to a query that was read from a client. It always has something to say.
func (r *Resolver) Answer(ctx context.Context, q *dns.Msg) *dns.Msg {
	if code := malformed(q); code != dns.RcodeSuccess {
		return new(dns.Msg).SetRcode(q, code)
	}
	k := keyOf(q)
	r.mu.Lock()
	r.stats.Queries++
	had, fresh := r.cache.get(k, time.Now())
	if fresh {
		r.stats.Cached++
		r.mu.Unlock()
		return reply(q, had)
	}
	ask := r.begin(k, q)
	r.mu.Unlock()
	if ask != nil {
		patience := questionTime
		if had != nil {
			patience = staleAfter
		}
		t := time.NewTimer(patience)
		defer t.Stop()
		select {
		case <-ask.done:
			if ask.answer != nil {
				return reply(q, ask.answer)
			}
		case <-t.C:
		case <-ctx.Done():
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if had != nil {
		r.stats.Stale++
		return reply(q, had)
	}
	r.stats.Failed++
	return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
}

// malformed is the code with which a query is refused; success if it is one to answer.
func malformed(q *dns.Msg) int {
	switch {
	case q.Opcode != dns.OpcodeQuery:
		return dns.RcodeNotImplemented
	case q.Response || len(q.Question) != 1 || len(q.Answer)+len(q.Ns) != 0:
		return dns.RcodeFormatError
	case q.Question[0].Qtype == dns.TypeAXFR || q.Question[0].Qtype == dns.TypeIXFR:
		return dns.RcodeRefused
	}
	return dns.RcodeSuccess
}

// begin asks a question, or joins in one that is being asked; nil when there are too many. Called with mu held.
func (r *Resolver) begin(k key, q *dns.Msg) *question {
	if ask := r.open[k]; ask != nil {
		return ask
	}
	if len(r.open) >= maxQuestions || r.over {
		return nil
	}
	ask := &question{done: make(chan struct{})}
	r.open[k] = ask
	out := outgoing(q, k)
	r.wg.Go(func() { // joined by Close
		ctx, cancel := context.WithTimeout(r.ctx, questionTime)
		defer cancel()
		answer, err := r.ask(ctx, out)
		r.mu.Lock()
		defer r.mu.Unlock()
		if err == nil && !(answer.Rcode == dns.RcodeServerFailure && r.known(k)) { // RFC 8767 §4: a failure is no reason to forget
			ask.answer = answer
			r.cache.put(k, answer, time.Now())
		}
		delete(r.open, k)
		close(ask.done)
	})
	return ask
}

func (r *Resolver) known(k key) bool {
	had, _ := r.cache.get(k, time.Now())
	return had != nil
}

// outgoing is the query that is sent on: the client's question, and none of what else it said.
func outgoing(q *dns.Msg, k key) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(q.Question[0].Name, k.qtype)
	m.Question[0].Qclass = k.class
	m.RecursionDesired, m.CheckingDisabled, m.AuthenticatedData = q.RecursionDesired, q.CheckingDisabled, q.AuthenticatedData
	m.SetEdns0(maxUDP, k.dnssec)
	return m
}

// reply is an answer as the client is to have it: under its number, with its spelling of the name, and with EDNS only if it has said so itself.
func reply(q, answer *dns.Msg) *dns.Msg {
	m := answer.Copy()
	m.Id, m.Response, m.Authoritative, m.RecursionDesired = q.Id, true, false, q.RecursionDesired
	m.Question = []dns.Question{q.Question[0]}
	extra := m.Extra[:0:0]
	for _, rr := range m.Extra {
		if rr.Header().Rrtype != dns.TypeOPT {
			extra = append(extra, rr)
		}
	}
	m.Extra = extra
	if o := q.IsEdns0(); o != nil {
		m.SetEdns0(maxUDP, o.Do())
	}
	return m
}
