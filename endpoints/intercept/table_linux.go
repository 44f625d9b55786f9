package intercept

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// answerTimeout bounds the wait for the kernel's answers to a transaction. It
	// gives them within the call, except that a kernel without nf_tables answers
	// one message only and the library waits for one each.
	answerTimeout = 5 * time.Second

	// sendBuffer holds the longest transaction, maxBypass spans of IPv6 with two
	// elements of about 50 bytes each.
	sendBuffer = 4 << 20

	// chunk is the number of spans in one message: a list of elements is one
	// netlink attribute, whose length has 16 bits.
	chunk = 256
)

// table is the nftables table in one network namespace, over one netlink socket.
type table struct {
	mu    sync.Mutex // one transaction at a time
	rules *ruleset
	conn  *nftables.Conn
	// deadline sets the time by which the socket must have answered.
	deadline func(time.Time) error
	sets     map[*set]*nftables.Set
}

// openTable opens the socket in the network namespace of the calling thread.
func openTable(r *ruleset) (*table, error) {
	t := &table{rules: r, sets: make(map[*set]*nftables.Set)}
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		t.deadline = c.SetDeadline
		return c.SetWriteBuffer(sendBuffer)
	}))
	if err != nil {
		return nil, explain("open a netfilter netlink socket", err)
	}
	t.conn = conn
	return t, nil
}

func (t *table) current() *ruleset {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rules
}

// use makes the next replace put r in place, and returns what held before.
func (t *table) use(r *ruleset) (old *ruleset) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, t.rules = t.rules, r
	return old
}

func (t *table) close() { t.conn.CloseLasting() }

// flush sends what is queued and waits for the kernel's answer.
func (t *table) flush() error {
	if err := t.deadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	return t.conn.Flush()
}

// transaction is what the making of one table needs.
type transaction struct {
	conn  *nftables.Conn
	table *nftables.Table
	sets  map[*set]*nftables.Set
	err   error
}

// clear queues the removal of the table, whether it is there or not: deleting
// what is not there would fail the transaction, so it is made first.
func clear(conn *nftables.Conn) *nftables.Table {
	t := &nftables.Table{Name: Table, Family: nftables.TableFamilyINet}
	conn.AddTable(t)
	conn.DelTable(t)
	return t
}

// making guards a counter of the library that all its connections share.
var making sync.Mutex

// replace puts the table in place in one transaction; what an earlier one
// remembered is lost.
func (t *table) replace() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	making.Lock()
	defer making.Unlock()
	tx := &transaction{conn: t.conn, table: clear(t.conn), sets: make(map[*set]*nftables.Set)}
	tx.conn.AddTable(tx.table)
	for _, s := range t.rules.sets {
		tx.set(s)
	}
	accepting := nftables.ChainPolicyAccept
	var chains []*nftables.Chain
	for _, ch := range t.rules.chains { // all, before a rule jumps to one
		kc := &nftables.Chain{Name: ch.name, Table: tx.table}
		if ch.hook != "" {
			kc.Type, kc.Hooknum, kc.Priority, kc.Policy = nftables.ChainType(ch.kind), hooks[ch.hook], priorities[ch.priority], &accepting
		}
		chains = append(chains, tx.conn.AddChain(kc))
	}
	for i, ch := range t.rules.chains {
		for _, r := range ch.rules {
			var ex []expr.Any
			for _, cl := range r {
				ex = append(ex, tx.exprs(cl)...)
			}
			tx.conn.AddRule(&nftables.Rule{Table: tx.table, Chain: chains[i], Exprs: ex})
		}
	}
	err := tx.err
	if err == nil {
		err = t.flush()
	}
	t.sets = tx.sets
	return explain("put table inet "+Table+" in place", err)
}

// remove takes the table away; it is no error when there is none.
func (t *table) remove() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.conn)
	return explain("remove table inet "+Table, t.flush())
}

var hooks = map[string]*nftables.ChainHook{
	"prerouting":  nftables.ChainHookPrerouting,
	"output":      nftables.ChainHookOutput,
	"postrouting": nftables.ChainHookPostrouting,
}

var priorities = map[string]*nftables.ChainPriority{
	"mangle": nftables.ChainPriorityMangle,
	"srcnat": nftables.ChainPriorityNATSource,
}

// set queues a named set with what is in it from the start.
func (tx *transaction) set(s *set) {
	ks := &nftables.Set{Table: tx.table, Name: s.name}
	addr := nftables.TypeIPAddr
	if s.v6 {
		addr = nftables.TypeIP6Addr
	}
	var elements []nftables.SetElement
	switch s.keys {
	case keyFamily:
		ks.KeyType = nftables.TypeNFProto
		elements = append(elements, nftables.SetElement{Key: []byte{unix.NFPROTO_IPV4}})
		if s.both {
			elements = append(elements, nftables.SetElement{Key: []byte{unix.NFPROTO_IPV6}})
		}
	case keyBoth:
		ks.KeyType = nftables.MustConcatSetType(addr, nftables.TypeInetService)
		ks.Concatenation, ks.HasTimeout, ks.Timeout, ks.Size = true, true, s.ttl, maxNegative
	case keyAddr, keyPort:
		ks.KeyType, ks.Interval = addr, true
		if s.keys == keyPort {
			ks.KeyType = nftables.TypeInetService
		}
		for _, sp := range s.spans {
			elements = append(elements, nftables.SetElement{Key: sp.first})
			if end, ok := next(sp.last); ok {
				elements = append(elements, nftables.SetElement{Key: end, IntervalEnd: true})
			}
		}
	}
	ks.KeyByteOrder = binaryutil.BigEndian
	tx.fail(tx.conn.AddSet(ks, nil))
	for part := range slices.Chunk(elements, 2*chunk) {
		tx.fail(tx.conn.SetAddElements(ks, part))
	}
	tx.sets[s] = ks
}

// anonymous queues a set that belongs to the rule in which it is looked up.
func (tx *transaction) anonymous(of nftables.SetDatatype, keys ...[]byte) *expr.Lookup {
	ks := &nftables.Set{Table: tx.table, Anonymous: true, Constant: true, KeyType: of}
	var elements []nftables.SetElement
	for _, k := range keys {
		elements = append(elements, nftables.SetElement{Key: k})
	}
	tx.fail(tx.conn.AddSet(ks, elements))
	return &expr.Lookup{SourceRegister: reg, SetName: ks.Name, SetID: ks.ID}
}

func (tx *transaction) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

// negativeKey joins address and port; each part fills whole registers of 4 bytes.
func negativeKey(target netip.AddrPort) []byte {
	return append(target.Addr().AsSlice(), byte(target.Port()>>8), byte(target.Port()), 0, 0)
}

// remember puts a target into a set of negative results. A set that is full
// takes no more until some have expired, which is no error.
func (t *table) remember(s *set, target netip.AddrPort) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	ks := t.sets[s]
	if ks == nil {
		return ErrRemoved
	}
	err := t.conn.SetAddElements(ks, []nftables.SetElement{{Key: negativeKey(target)}})
	if err == nil {
		err = t.flush()
	}
	switch {
	case errors.Is(err, unix.ENFILE):
		return nil
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w (%w)", ErrRemoved, err)
	}
	return explain(fmt.Sprintf("remember %s in set %s", target, s.name), err)
}

// family adds IPv6 to what is taken, or removes it.
func (t *table) family(on bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.rules.families
	if s.both == on {
		return nil
	}
	ks := t.sets[s]
	if ks == nil {
		return ErrRemoved
	}
	six := []nftables.SetElement{{Key: []byte{unix.NFPROTO_IPV6}}}
	change := t.conn.SetAddElements
	if !on {
		change = t.conn.SetDeleteElements
	}
	err := change(ks, six)
	if err == nil {
		err = t.flush()
	}
	switch {
	case err == nil:
		s.both = on
		return nil
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w (%w)", ErrRemoved, err)
	}
	return explain("change set "+s.name, err)
}

// explain makes one sentence of an errno. The making of the table names
// nothing that it does not make first, so ENOENT is an expression that the kernel does not know.
func explain(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("intercept: %s: %w (%w)", what, ErrRights, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP),
		errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("intercept: %s: %w: NFT_TPROXY, NFT_SOCKET, NFT_FIB_INET, NFT_REJECT_INET, NFT_CT in the kernel, Linux 5.9 or later (%w)",
			what, ErrUnsupported, err)
	}
	return fmt.Errorf("intercept: %s: %w", what, err)
}
