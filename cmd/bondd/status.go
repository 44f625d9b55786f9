package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/bondd/bondd/endpoints"
	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/tunnel"
)

var statusCommand = &command{
	name:  "status",
	short: "show the uplinks, sessions and paths of a running bondd",
	long: `Asks the bondd that runs on this host, over its control socket, and prints a
table and a sentence for everything that is wrong; with --json, one JSON object
for programs. For the rates it looks twice, a second apart (-w 0s: once).

OUT and IN are what the path carries now, datagrams and all, and its share of
the session's; UP TO is what it has been seen to deliver in the direction from
this host, ADDED the delay that datagrams of ours cause on it, LOST what was
lost since the path exists.`,
	run: func(ctx context.Context, c *invocation) int {
		socket, asJSON, wait := config.DefaultControl, false, time.Second
		if code, ok := c.parse(0, func(fs *flag.FlagSet) {
			fs.StringVar(&socket, "s", socket, "ask the control socket at `PATH`")
			fs.BoolVar(&asJSON, "json", false, "print JSON")
			fs.DurationVar(&wait, "w", wait, "look `TIME` long for the rates")
		}); !ok {
			return code
		}
		st, err := measured(ctx, socket, wait)
		if err != nil {
			return c.fail(err)
		}
		if asJSON {
			e := json.NewEncoder(c.out)
			e.SetIndent("", "  ")
			err = e.Encode(st)
		} else {
			err = printStatus(c.out, st)
		}
		if err != nil {
			return c.fail(err)
		}
		return exitOK
	},
}

// measured reads the status twice, so that it has rates, unless wait is 0.
func measured(ctx context.Context, socket string, wait time.Duration) (*endpoints.Status, error) {
	first, err := endpoints.ReadStatus(ctx, socket)
	if err != nil || wait <= 0 {
		return first, err
	}
	if !sleep(ctx, wait) {
		return first, nil
	}
	st, err := endpoints.ReadStatus(ctx, socket)
	if err == nil {
		st.Measure(first)
	}
	return st, err
}

// sleep waits; it is false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// printStatus writes a status for people: what the node is, then a table each
// of exits if there are several, uplinks, sessions and paths, then what was dropped and what this host
// cannot do.
func printStatus(w io.Writer, st *endpoints.Status) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t ")) }
	title := func(cells ...string) { row(); row(cells...) }

	state := st.State
	if st.Reason != "" {
		state += ": " + st.Reason
	}
	row(st.Role, state)
	row("running for", seconds(st.Uptime)+", "+st.Software)
	if r := st.Relay; r != nil {
		row("forwarding", relayText(r))
	} else {
		row("TUN device", fmt.Sprintf("%s, MTU %d", st.TUN.Name, st.TUN.MTU))
	}
	if len(st.Remotes) > 0 {
		row("exit at", joined(st.Remotes, ", "))
	}
	if h := st.Hello; h != nil && h.Error != "" {
		row("last hello", h.Error)
	}
	if s := st.Streams; s != nil {
		row("TCP goes", carriedText(st))
		row("streams", streamsText(s))
	}
	if c := st.Carriers; c != nil {
		row("carriers", carriersText(c))
	}
	if d := st.DNS; d != nil {
		row("DNS", fmt.Sprintf("%d queries, %d from the cache, %d stale, %d failed", d.Queries, d.Cached, d.Stale, d.Failed))
	}

	if len(st.Exits) > 0 {
		title("EXIT", "STATE", "AT")
	}
	for _, x := range st.Exits {
		row(x.Name, exitState(x), joined(x.Remotes, " "))
	}
	if len(st.Rules) > 0 {
		title("RULE", "EXIT", "LEAVES BY")
	}
	for _, r := range st.Rules {
		row(r.For, r.Exit, r.By)
	}
	if len(st.Uplinks) > 0 {
		title("UPLINK", "INTERFACE", "MODE", "STATE", "MTU", "ADDRESSES")
	}
	for _, u := range st.Uplinks {
		row(u.Name, u.Interface, uplinkMode(u), uplinkState(u), fmt.Sprint(u.MTU), joined(u.Addresses, " "))
	}
	if len(st.Sessions) > 0 {
		title("SESSION", "STATE", "AGE", "CIPHER", "MTU", "FROM OR TO", "INNER ADDRESSES")
	}
	for _, s := range st.Sessions {
		row(s.Peer, sessionState(s), seconds(s.Age), s.Suite, fmt.Sprint(s.InnerMTU), s.Hello.String(), joined(s.Inner, " "))
	}
	paths := 0
	for _, s := range st.Sessions {
		if s.Stats == nil {
			continue
		}
		for _, p := range s.Stats.Paths {
			if paths++; paths == 1 {
				title("PATH", "STATE", "RTT", "ADDED", "LOST", "OUT", "UP TO", "IN", "SENT", "RECEIVED", "REMOTE")
			}
			out, in := "-", "-"
			if s.Traffic != nil {
				t := s.Of(p.ID)
				out, in = rateAndShare(t.Out, t.OutShare), rateAndShare(t.In, t.InShare)
			}
			row(s.PathName(p.ID), pathState(&p), millis(p.RTT), millis(p.Queue), percent(p.LostDatagrams, p.SentDatagrams), out, megabits(p.Rate), in,
				bytesOf(p.SentBytes), bytesOf(p.RecvBytes), p.Remote)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return printRemarks(w, st)
}

// carriedText says how connections travel, and why.
func carriedText(st *endpoints.Status) string {
	switch s := st.Streams; {
	case st.Role != "gateway":
		return "as each gateway chooses"
	case s.Interception == "on":
		return "as streams over the bond: it is intercepted, and the exit carries streams"
	case s.Interception == "":
		return "as packets over the bond"
	default:
		return "as packets over the bond: interception " + s.Interception
	}
}

func pathState(p *tunnel.PathStats) string {
	if p.Backup {
		return p.State + ", backup"
	}
	return p.State
}

func rateAndShare(rate, share float64) string {
	return fmt.Sprintf("%s %3.0f %%", megabits(rate), 100*share)
}

// relayText is what a relay does, in one line.
func relayText(r *endpoints.RelayStatus) string {
	text := fmt.Sprintf("%s to %s, ", r.Listen, r.To)
	if r.Kernel {
		return text + "in the kernel"
	}
	return text + fmt.Sprintf("by itself: %d UDP flows, %d connections, %d refused, %d failed", r.Flows, r.Connections, r.Refused, r.Failed)
}

// streamsText is what became of the streams, in one line.
func streamsText(s *endpoints.StreamStatus) string {
	text := fmt.Sprintf("%d open, %d opened", s.Open, s.Opened)
	for _, reason := range slices.Sorted(maps.Keys(s.Refused)) {
		text += fmt.Sprintf(", %d %s", s.Refused[reason], strings.ReplaceAll(reason, "_", " "))
	}
	return text
}

// carriersText is what carries TCP connections and why, in one line, and what keeps the kernel from an uplink.
func carriersText(c *endpoints.CarrierStatus) string {
	text := fmt.Sprintf("%d", c.Carriers)
	if c.InUse == "" { // an exit takes what comes
		return text
	}
	how := map[string]string{"bond": "the bond", "mptcp": "the kernel's MPTCP", "tcp": "plain TCP"}[c.InUse]
	text += fmt.Sprintf(" with %d subflows, %d connections so far; TCP goes by %s (%s): %s", c.Subflows, c.Opened, how, c.Mode, c.Why)
	for _, u := range c.Uplinks {
		if u.Note != "" && c.Mode != "bond" {
			text += fmt.Sprintf("; %s: %s", u.Name, u.Note)
		}
	}
	return text
}

// printRemarks writes the last lines of a status, where there is something to
// say.
func printRemarks(w io.Writer, st *endpoints.Status) error {
	drops := maps.Clone(st.Drops)
	if drops == nil {
		drops = map[string]uint64{}
	}
	for _, s := range st.Sessions {
		if s.Stats == nil {
			continue
		}
		// The session's counters have their names in their JSON only.
		own := map[string]uint64{}
		if text, err := json.Marshal(s.Stats.Drops); err != nil || json.Unmarshal(text, &own) != nil {
			continue
		}
		for reason, n := range own {
			drops[reason] += n
		}
	}
	var list []string
	for _, reason := range slices.Sorted(maps.Keys(drops)) {
		if drops[reason] > 0 {
			list = append(list, fmt.Sprintf("%s %d", reason, drops[reason]))
		}
	}
	if len(list) > 0 {
		if _, err := fmt.Fprintf(w, "\ndropped: %s\n", strings.Join(list, ", ")); err != nil {
			return err
		}
	}
	for i, text := range st.Problems {
		if i == 0 {
			text = "\n" + text
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	for _, note := range st.Notes {
		if _, err := fmt.Fprintf(w, "note: %s\n", note); err != nil {
			return err
		}
	}
	return nil
}

func uplinkMode(u endpoints.UplinkStatus) string {
	text := u.Mode
	if u.Metered {
		text += ", metered"
	}
	if u.Quota != 0 {
		text += fmt.Sprintf(", %s of %s used", bytesOf(u.Used), bytesOf(u.Quota))
	}
	if u.Reason != "" {
		text += " (" + u.Reason + ")"
	}
	return text
}

func uplinkState(u endpoints.UplinkStatus) string {
	switch {
	case !u.Up:
		return "down"
	case u.Health == "down" || u.Health == "degraded":
		return u.Health + ": " + u.Why
	case u.IPv4 && u.IPv6:
		return "up"
	case u.IPv4:
		return "up, IPv4"
	case u.IPv6:
		return "up, IPv6"
	}
	return "no route"
}

func exitState(x endpoints.ExitStatus) string {
	text := x.State
	if x.InUse {
		text += ", in use"
	}
	if x.Reason != "" {
		text += ": " + x.Reason
	}
	return text
}

func sessionState(s endpoints.SessionStatus) string {
	switch {
	case s.Pending:
		return "pending"
	case s.Alive:
		return "alive"
	}
	return "silent"
}

func joined[T fmt.Stringer](list []T, sep string) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return strings.Join(out, sep)
}

func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second)).Round(time.Second)
	if d < 24*time.Hour {
		return d.String()
	}
	return fmt.Sprintf("%dd%s", d/(24*time.Hour), strings.TrimSuffix((d%(24*time.Hour)).Round(time.Minute).String(), "0s"))
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1e3) }

// megabits writes a rate in bytes/s.
func megabits(r float64) string { return fmt.Sprintf("%.1f Mb/s", r*8/1e6) }

// bytesOf writes an amount in decimal units, as traffic is counted.
func bytesOf(n uint64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if f := float64(n) / u.size; f >= 1 {
			return fmt.Sprintf("%.1f %s", f, u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

func percent(part, whole uint64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(part)/float64(whole))
}
