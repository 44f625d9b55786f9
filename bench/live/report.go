package live

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteTable prints transfers and verdict for people.
func WriteTable(w io.Writer, list []Transfer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, t := range list {
		if t.Mbps == nil {
			continue
		}
		fmt.Fprintf(tw, "%s, flows: %d\t%.1f Mb/s\tprocessors busy %.0f %%\t\t\n", &t, t.Flows, *t.Mbps, t.Busy*100)
		for _, u := range t.Uplinks {
			fmt.Fprintf(tw, "  %s\t%.1f Mb/s\tRTT %.0f ms\t%s\t%s\n", u.Name, u.Carried, u.RTT, optional("taken for %.1f Mb/s", u.Rate, 1), optional("lost %.1f %%", u.Lost, 100))
		}
	}
	tw.Flush()
	fmt.Fprintln(w)
	for _, line := range Verdict(list) {
		fmt.Fprintln(w, line)
	}
	_, err := fmt.Fprintln(w, "\nThe bond's rate is payload at the receiver; an uplink's is whole datagrams, with what the LAN sent meanwhile.")
	return err
}

func optional(format string, x *float64, scale float64) string {
	if x == nil {
		return ""
	}
	return fmt.Sprintf(format, *x*scale)
}
