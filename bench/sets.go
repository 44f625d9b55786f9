package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/bondd/bondd/bench/link"
)

// Uplink is one emulated line of a set.
type Uplink struct {
	// Name is the name of the interface on the gateway; at most 15 bytes.
	Name string
	// Link holds for both directions; each direction has its own seed.
	Link link.Config
}

// Set is a named selection of uplinks, the unit in which everything is
// measured.
type Set struct {
	Name    string
	Title   string // one line for --list
	Uplinks []Uplink
	// Remotes is the number of addresses the exit has. With more than one,
	// every uplink carries that many paths over the same line.
	Remotes int
	// Relays is the number of relays, with which a VPN over the first uplink comes.
	Relays int
	// Backup names an uplink that is used only when no other works; it is not in the limit.
	Backup string
	// Settle is how long a transfer runs before it counts. Zero means the
	// default of the command; sets with a satellite need longer.
	Settle time.Duration
}

// line builds a link: rate in Mb/s, one-way delay, jitter and queue in
// milliseconds, loss as a probability.
func line(mbps float64, delay, jitter, queue int, loss float64) link.Config {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	return link.Config{Rate: mbps * 1e6, Delay: ms(delay), Jitter: ms(jitter), Queue: ms(queue), Loss: loss}
}

// The lines of DESIGN section 9. Queues are those of the modems they stand for:
// short on VDSL and cable, 300 ms on ADSL and satellite, 2 s on bloated 3G.
var (
	vdsl      = Uplink{"vdsl", line(50, 8, 0, 100, 0)}
	adsl      = Uplink{"adsl", line(10, 12, 0, 300, 0)}
	lte       = Uplink{"lte", line(30, 25, 8, 200, 0.005)}
	lte2      = Uplink{"lte2", line(20, 20, 10, 200, 0.01)}
	lte3      = Uplink{"lte3", line(20, 35, 10, 200, 0.01)}
	geo       = Uplink{"geo", line(20, 300, 0, 300, 0.002)}
	umts      = Uplink{"umts", line(2, 60, 20, 2000, 0)}
	starlink  = Uplink{"leo", line(100, 20, 5, 100, 0.008)}
	demoUmts  = Uplink{"umts", line(4, 60, 20, 1000, 0)}
	equalLine = line(50, 10, 0, 100, 0)
)

// geoSettle: two seconds of slow start at 600 ms RTT and as much again to
// settle; the targets of DESIGN section 9 count after 10 s.
const geoSettle = 10 * time.Second

// Sets returns all sets in the order in which they are reported.
func Sets() []Set {
	return []Set{
		{Name: "equal", Title: "two equal lines, 50 Mb/s, 20 ms RTT", Uplinks: []Uplink{{"line0", equalLine}, {"line1", equalLine}}},
		{Name: "demo", Title: "VDSL 50, LTE 30, ADSL 10, UMTS 4 Mb/s", Uplinks: []Uplink{vdsl, lte, adsl, demoUmts}},
		{Name: "V+A", Title: "VDSL and ADSL", Uplinks: []Uplink{vdsl, adsl}},
		{Name: "V+L", Title: "VDSL and LTE with jitter and 0.5 % loss", Uplinks: []Uplink{vdsl, lte}},
		{Name: "L2+L3", Title: "two LTE lines with jitter and 1 % loss", Uplinks: []Uplink{lte2, lte3}},
		{Name: "V+T", Title: "VDSL and a bloated 3G line", Uplinks: []Uplink{vdsl, umts}},
		{Name: "V+S", Title: "VDSL and a low-orbit satellite with 0.8 % loss", Uplinks: []Uplink{vdsl, starlink}},
		{Name: "A+G", Title: "ADSL and a geostationary satellite", Uplinks: []Uplink{adsl, geo}, Settle: geoSettle},
		{Name: "V+A+L+G", Title: "VDSL, ADSL, LTE and a geostationary satellite", Uplinks: []Uplink{vdsl, adsl, lte, geo}, Settle: geoSettle},
		{Name: "4A", Title: "four paths over one ADSL line", Uplinks: []Uplink{adsl}, Remotes: 4},
		{Name: "home2014", Title: "ADSL direct, by a VPN over it, and by two relays; 3G as a backup", Uplinks: []Uplink{adsl, umts}, Relays: 2, Backup: "umts"},
	}
}

// FindSets resolves a comma-separated list of set names; "all" is every set.
func FindSets(list string) ([]Set, error) {
	all := Sets()
	if list == "all" {
		return all, nil
	}
	var out []Set
	for name := range strings.SplitSeq(list, ",") {
		found := false
		for _, s := range all {
			if strings.EqualFold(s.Name, strings.TrimSpace(name)) {
				out, found = append(out, s), true
			}
		}
		if !found {
			names := make([]string, len(all))
			for i, s := range all {
				names[i] = s.Name
			}
			return nil, fmt.Errorf("there is no set %q; the sets are %s, and \"all\"", name, strings.Join(names, ", "))
		}
	}
	return out, nil
}

// writeSets is --list.
func writeSets(w io.Writer) {
	for _, s := range Sets() {
		fmt.Fprintf(w, "%-8s %s\n", s.Name, s.Title)
		for _, u := range s.Uplinks {
			fmt.Fprintf(w, "         %-6s %s\n", u.Name, u.describe())
		}
	}
	fmt.Fprintf(w, "%-8s bare wires, no emulation, one and two of them, beside wireguard-go; in the lab, alone only\n", plainSet)
}

// describe is the line in words.
func (u Uplink) describe() string {
	l := u.Link
	text := fmt.Sprintf("%g Mb/s, %v one way, queue %v", l.Rate/1e6, l.Delay, l.Queue)
	if l.Jitter > 0 {
		text += fmt.Sprintf(", jitter %v", l.Jitter)
	}
	if l.Loss > 0 {
		text += fmt.Sprintf(", loss %g %%", l.Loss*100)
	}
	return text
}

// payloadShare is the share of a link's IP bytes that plain TCP with timestamps
// can deliver as payload: 1448 of 1500.
const payloadShare = 1448.0 / 1500

// LimitMbps is what plain TCP could carry at best over all uplinks together, in
// Mb/s of payload: the sum of rate × (1 − loss) × 1448/1500 (DESIGN section 8).
func (s Set) LimitMbps() float64 {
	sum := 0.0
	for _, u := range s.Uplinks {
		if u.Name != s.Backup {
			sum += u.limitMbps()
		}
	}
	return sum
}

// leftMbps is the same without an uplink; a backup is used then.
func (s Set) leftMbps(without Uplink) float64 {
	s.Uplinks = slices.DeleteFunc(slices.Clone(s.Uplinks), func(u Uplink) bool { return u.Name == without.Name })
	if s.LimitMbps() == 0 {
		s.Backup = ""
	}
	return s.LimitMbps()
}

func (u Uplink) limitMbps() float64 { return u.Link.Rate / 1e6 * (1 - u.Link.Loss) * payloadShare }
