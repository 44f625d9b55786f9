package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/bondd/bondd/endpoints"
	"github.com/bondd/bondd/endpoints/config"
)

var netcheckCommand = &command{
	name:  "netcheck",
	short: "try the uplinks and say what this host lacks",
	long: `Looks at this host (TUN, routing, MPTCP) and, for a gateway, tries every uplink:
whether each exit is reached by TCP and by UDP, whether MPTCP gets through as
both ends see it, round trip, and the largest datagram so far. Nothing on this
host is changed. While bondd runs, its paths tell about UDP; otherwise, and for
exits that only stand by, a session is made for a moment.

Exit codes: 0 all is well, 1 an uplink does not reach an exit by TCP or UDP,
or an exit is not found, 2 wrong command line or configuration, 3 this host
lacks a right or feature that bondd cannot do without.`,
	run: func(ctx context.Context, c *invocation) int {
		asJSON, exit := false, ""
		cfg, code := c.loadConfig(func(fs *flag.FlagSet) {
			fs.BoolVar(&asJSON, "json", false, "print JSON")
			fs.StringVar(&exit, "exit", "", "of several exits, try the one called `NAME` only")
		})
		if cfg == nil {
			return code
		}
		if exit != "" {
			if cfg.Role != config.RoleGateway {
				return c.usage("only a gateway has exits")
			}
			var names []string
			for _, x := range cfg.Exits() {
				names = append(names, x.Title())
			}
			if !slices.Contains(names, exit) {
				return c.usage("there is no exit %q; there is %s", exit, strings.Join(names, ", "))
			}
		}
		n := endpoints.CheckNetwork(ctx, cfg, exit)
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
	if err := t.Flush(); err != nil {
		return err
	}
	for _, x := range n.Exits {
		if err := printNetcheckExit(w, x); err != nil {
			return err
		}
	}
	return nil
}

// printNetcheckExit writes how the uplinks reach an exit.
func printNetcheckExit(w io.Writer, x endpoints.NetcheckExit) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t ")) }
	if len(x.Addresses) > 0 {
		fmt.Fprintf(w, "\nexit %s at %s\n", x.Name, joined(x.Addresses, ", "))
	} else {
		fmt.Fprintf(w, "\nexit %s\n", x.Name)
	}
	if len(x.Uplinks) > 0 {
		row("UPLINK", "INTERFACE", "TCP", "UDP", "MPTCP", "RTT", "MTU", "DATAGRAM", "SEEN AS", "ADDRESSES")
	}
	for _, u := range x.Uplinks {
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
	for _, u := range x.Uplinks {
		if u.Note == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", u.Name, u.Note); err != nil {
			return err
		}
	}
	if x.Error != "" {
		_, err := fmt.Fprintln(w, x.Error)
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
