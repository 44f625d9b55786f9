package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/bondd/bondd/endpoints"
)

var netcheckCommand = &command{
	name:  "netcheck",
	short: "try the uplinks and say what this host lacks",
	long: `Looks at this host (TUN, routing, MPTCP) and, for a gateway, tries every uplink:
whether the exit is reached by TCP and by UDP, whether MPTCP gets through as
both ends see it, round trip, and the largest datagram so far. Nothing on this
host is changed. While bondd runs, its paths tell about UDP; otherwise a
session is made with the exit for a moment.

Exit codes: 0 all is well, 1 an uplink does not reach the exit by TCP or UDP,
or the exit is not found, 2 wrong command line or configuration, 3 this host
lacks a right or feature that bondd cannot do without.`,
	run: func(ctx context.Context, c *invocation) int {
		asJSON := false
		cfg, code := c.loadConfig(func(fs *flag.FlagSet) { fs.BoolVar(&asJSON, "json", false, "print JSON") })
		if cfg == nil {
			return code
		}
		n := endpoints.CheckNetwork(ctx, cfg)
		var err error
		if asJSON {
			e := json.NewEncoder(c.out)
			e.SetIndent("", "  ")
			err = e.Encode(n)
		} else {
			err = printNetcheck(c.out, n)
		}
		if err != nil {
			return c.fail(err)
		}
		switch machine, uplinks := n.Complete(); {
		case !machine:
			return exitUnsupported
		case !uplinks:
			return exitFailed
		}
		return exitOK
	},
}

// printNetcheck writes the outcome for people.
func printNetcheck(w io.Writer, n *endpoints.Netcheck) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t ")) }
	for _, f := range n.Machine {
		state := "yes"
		switch {
		case !f.OK && f.Required:
			state = "MISSING"
		case !f.OK:
			state = "no"
		}
		row(f.Name, state, f.Note)
	}
	if len(n.Exit) > 0 {
		row("exit at", joined(n.Exit, ", "))
	}
	if len(n.Uplinks) > 0 {
		row()
		row("UPLINK", "INTERFACE", "TCP", "UDP", "MPTCP", "RTT", "MTU", "DATAGRAM", "SEEN AS", "ADDRESSES")
	}
	for _, u := range n.Uplinks {
		rtt, datagram, seen := "-", "-", "-"
		if u.RTT > 0 {
			rtt = fmt.Sprintf("%.1f ms", u.RTT)
		}
		if u.Datagram > 0 {
			datagram = fmt.Sprint(u.Datagram)
		}
		if u.Seen.IsValid() {
			seen = u.Seen.Addr().String()
		}
		row(u.Name, u.Interface, yesNo(u.TCP), yesNo(u.UDP), u.MPTCP, rtt, fmt.Sprint(u.MTU), datagram, seen, joined(u.Addresses, " "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, u := range n.Uplinks {
		if u.Note != "" {
			if _, err := fmt.Fprintf(w, "\n%s: %s\n", u.Name, u.Note); err != nil {
				return err
			}
		}
	}
	if n.Error != "" {
		_, err := fmt.Fprintf(w, "\n%s\n", n.Error)
		return err
	}
	return nil
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
