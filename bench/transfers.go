package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bondd/bondd/bench/lab"
)

// What --transfers measures: downloads as a page, a picture or a package is
// one, each on a new connection; and requests beside a bulk download, which is
// what a user notices of it.
var transferSizes = []transferSize{
	{"50 kB", 50_000, 9},
	{"1 MB", 1_000_000, 3},
}

type transferSize struct {
	name  string
	bytes int64
	count int // of downloads, of which the median counts
}

const (
	requestBytes = 10_000
	requestCount = 100
	requestEvery = 100 * time.Millisecond
	// fetchTimeout ends what will not come: 1 MB at 130 kb/s.
	fetchTimeout = time.Minute
	// aloneTimeout: an uplink that takes longer alone is not the best, but thin
	// lines need 4 s for 1 MB.
	aloneTimeout = 6 * time.Second
	// What all of it takes, about: alone the slowest uplink decides, through the bond the pauses do.
	transfersAloneTime = 20*time.Second + requestCount*requestEvery
	transfersTime      = 5*time.Second + 2*requestCount*requestEvery + time.Second
)

// Transfer is a short download of one size: through the bond, and over the
// uplink that is quickest by itself, with plain TCP. Milliseconds from the first
// SYN to the last byte.
type Transfer struct {
	Bytes int64   `json:"bytes"`
	Bond  Spread  `json:"bond_ms,omitzero"`
	Best  float64 `json:"best_ms,omitempty"` // median
	Over  string  `json:"best_uplink,omitempty"`
}

// Requests are small downloads on new connections, on idle lines and beside a
// bulk download.
type Requests struct {
	Bytes  int64  `json:"bytes"`
	Count  int    `json:"count"`
	Idle   Spread `json:"idle_ms"`
	Loaded Spread `json:"loaded_ms"`
}

// PlainRequests are the same requests without the bond, on idle lines, over the uplink whose median is the shortest.
type PlainRequests struct {
	Spread
	Over string `json:"uplink"`
}

// Spread is the median and the 95th percentile.
type Spread struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
}

func spreadOf(ds []time.Duration) Spread {
	ds = slices.Clone(ds)
	return Spread{P50: millis(lab.Quantile(ds, 0.5)), P95: millis(lab.Quantile(ds, 0.95))}
}

// transferColumns follow the columns of the table.
var transferColumns = []column{
	{"50 kB", "p50 ms", func(r Result) string { return r.transfer(50_000) }},
	{"1 MB", "p50 ms", func(r Result) string { return r.transfer(1_000_000) }},
	{"GET idle", "p50/p95 ms", func(r Result) string {
		if r.Requests == nil {
			return ""
		}
		return r.Requests.Idle.show()
	}},
	{"GET plain", "p50/p95 ms", func(r Result) string {
		if r.Plain == nil {
			return ""
		}
		return r.Plain.show()
	}},
	{"GET loaded", "p50/p95 ms", func(r Result) string {
		if r.Requests == nil {
			return ""
		}
		return r.Requests.Loaded.show()
	}},
}

func (s Spread) show() string { return fmt.Sprintf("%.0f/%.0f", s.P50, s.P95) }

func (r Result) transfer(bytes int64) string {
	for _, t := range r.Transfers {
		if t.Bytes == bytes && t.Bond != (Spread{}) {
			return fmt.Sprintf("%.0f", t.Bond.P50)
		}
	}
	return ""
}

// transferDetails is the line below the table; "" when not measured.
func (r Result) transferDetails() string {
	if r.Requests == nil {
		return ""
	}
	var parts []string
	for i, t := range r.Transfers {
		part := fmt.Sprintf("%s %.0f ms", transferSizes[i].name, t.Bond.P50)
		if t.Over != "" {
			part += fmt.Sprintf(" (plain TCP over %s: %.0f)", t.Over, t.Best)
		}
		parts = append(parts, part)
	}
	q, plain := r.Requests, ""
	if r.Plain != nil {
		plain = fmt.Sprintf(" (plain TCP over %s: %s)", r.Plain.Over, r.Plain.show())
	}
	return fmt.Sprintf("one download: %s; %d of %d kB: %s ms idle%s, %s ms beside a bulk download (p50/p95)",
		strings.Join(parts, ", "), q.Count, q.Bytes/1000, q.Idle.show(), plain, q.Loaded.show())
}

// chooseBest puts in the uplink with the shortest median.
func (t *Transfer) chooseBest(name string, took []time.Duration) {
	if p50 := spreadOf(took).P50; t.Over == "" || p50 < t.Best {
		t.Best, t.Over = p50, name
	}
}

// aloneOnly is what the bond has no part in.
func aloneOnly(ts []Transfer) []Transfer {
	ts = slices.Clone(ts)
	for i := range ts {
		ts[i].Bond = Spread{}
	}
	return ts
}

// downloads tells whether the short downloads belong to a result. They are the same beside any number of flows but the requests, which
// are measured beside the first number.
func (b *bench) downloads(r *Result) bool {
	return b.transfers && r.Direction == "down" && r.Flows == b.flows[0]
}

// transfersAlone measures the short downloads over each uplink without the
// bond. The uplinks share nothing, so all at the same time.
func (b *bench) transfersAlone(ctx context.Context, r *Result) error {
	var (
		wg    sync.WaitGroup
		took  = make([][]lab.Fetches, len(b.set.Uplinks))
		plain = make([]lab.Fetches, len(b.set.Uplinks))
		errs  = make([]error, len(b.set.Uplinks))
	)
	for i := range b.set.Uplinks {
		wg.Go(func() {
			for _, size := range transferSizes {
				f, err := b.lab.Fetch(ctx, lab.FetchSpec{Source: lab.Plain(i), Bytes: size.bytes, Count: size.count, Timeout: aloneTimeout})
				if err != nil {
					errs[i] = err
					return
				}
				took[i] = append(took[i], f)
			}
			plain[i], errs[i] = b.lab.Fetch(ctx, lab.FetchSpec{Source: lab.Plain(i), Bytes: requestBytes, Count: requestCount, Every: requestEvery, Timeout: aloneTimeout})
		})
	}
	wg.Wait()
	r.Transfers = nil // of a try before
	for k, size := range transferSizes {
		t := Transfer{Bytes: size.bytes}
		for i, u := range b.set.Uplinks {
			if errs[i] != nil {
				return errs[i]
			}
			if f := took[i][k]; f.Err() == nil { // a line on which it does not end is not the best
				t.chooseBest(u.Name, f.Took)
			}
		}
		if t.Over == "" {
			return fmt.Errorf("no uplink alone carries %s: %w", size.name, took[0][k].Err())
		}
		r.Transfers = append(r.Transfers, t)
	}
	r.Plain = nil
	for i, u := range b.set.Uplinks {
		if plain[i].Err() != nil {
			continue
		}
		if s := spreadOf(plain[i].Took); r.Plain == nil || s.P50 < r.Plain.P50 {
			r.Plain = &PlainRequests{s, u.Name}
		}
	}
	return nil
}

// shortTransfers measures the same through the bond, and the requests.
func (b *bench) shortTransfers(ctx context.Context, r *Result) error {
	for i, size := range transferSizes {
		f, err := b.fetch(ctx, r, lab.FetchSpec{Bytes: size.bytes, Count: size.count})
		if err != nil {
			return err
		}
		if i == len(r.Transfers) { // the uplinks alone failed, with the first service
			r.Transfers = append(r.Transfers, Transfer{Bytes: size.bytes})
		}
		r.Transfers[i].Bond = spreadOf(f.Took)
	}
	small := lab.FetchSpec{Bytes: requestBytes, Count: requestCount, Every: requestEvery}
	idle, err := b.fetch(ctx, r, small)
	if err != nil {
		return err
	}
	var loaded lab.Fetches
	if _, err := b.during(ctx, r, b.settle+requestCount*requestEvery+time.Second, b.settle, func() (err error) {
		loaded, err = b.fetch(ctx, r, small)
		return err
	}); err != nil {
		return err
	}
	r.Requests = &Requests{Bytes: requestBytes, Count: requestCount, Idle: spreadOf(idle.Took), Loaded: spreadOf(loaded.Took)}
	b.say("%s", r.transferDetails())
	return nil
}

func (b *bench) fetch(ctx context.Context, r *Result, spec lab.FetchSpec) (lab.Fetches, error) {
	like := b.tcp(r, 0)
	spec.Source, spec.Multipath, spec.Timeout = like.Source, like.Multipath, fetchTimeout
	f, err := b.lab.Fetch(ctx, spec)
	if err == nil {
		err = f.Err()
	}
	return f, err
}
