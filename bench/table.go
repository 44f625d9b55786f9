package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// column is one column of the table. A column in which no result has anything
// to show is left out.
type column struct {
	head, unit string
	cell       func(Result) string // "" when not measured
}

var columns = []column{
	{"set", "", func(r Result) string { return r.Set }},
	{"service", "", func(r Result) string { return r.Service }},
	{"dir", "", func(r Result) string { return r.Direction }},
	{"flows", "", func(r Result) string { return fmt.Sprint(r.Flows) }},
	{"best", "Mb/s", func(r Result) string { return show(r.Best, "%.1f") }},
	{"sum", "Mb/s", func(r Result) string { return show(r.Sum, "%.1f") }},
	{"limit", "Mb/s", func(r Result) string { return fmt.Sprintf("%.1f", r.Limit) }},
	{"BOND", "Mb/s", func(r Result) string { return show(r.Bond, "%.1f") }},
	{"of limit", "", func(r Result) string { return percent(r.Bond, &r.Limit) + r.spread("fraction", 100) }},
	{"offered", "Mb/s", func(r Result) string { return show(r.Offered, "%.1f") }},
	{"of offered", "", func(r Result) string { return percent(r.Bond, r.Offered) }},
	{"of best", "", func(r Result) string { return percent(r.Bond, r.Best) }},
	{"ping idle", "p50/p99 ms", func(r Result) string { return r.Idle.show() }},
	{"ping loaded", "p50/p99 ms", func(r Result) string { return r.Loaded.show() }},
	{"sparse idle", "one-way ms", func(r Result) string { return r.SparseIdle.show() }},
	{"loaded", "one-way ms", func(r Result) string { return r.SparseLoaded.show() }},
	{"CPU", "s/GB", func(r Result) string { return show(r.CPU, "%.1f") }},
	{"stall", "ms", func(r Result) string { return show(r.Stall, "%.0f") }},
	{"filled", "ms", func(r Result) string { return show(r.Fill, "%.0f") }},
	{"left", "Mb/s", func(r Result) string { return show(r.Left, "%.1f") }},
	{"left", "of limit", func(r Result) string { return percent(r.Left, r.LeftMax) }},
	{"unplugged", "stall ms", func(r Result) string { return show(r.Unplug, "%.0f") }},
	{"halved", "ms", func(r Result) string { return show(r.StepDown, "%.0f") }},
	{"doubled", "ms", func(r Result) string { return show(r.StepUp, "%.0f") }},
	{"restart", "ms", func(r Result) string { return show(r.Restart, "%.0f") }},
}

// shownColumns are those in which there is something to show.
func (r Report) shownColumns() (out []column) {
	for _, c := range slices.Concat(columns, transferColumns) {
		if slices.ContainsFunc(r.Results, func(x Result) bool { return c.cell(x) != "" }) {
			out = append(out, c)
		}
	}
	return out
}

func orDash(cell string) string {
	if cell == "" {
		return "-"
	}
	return cell
}

// WriteTable prints the report for people: one line per result, details below,
// and at the end what the words mean and how it was made.
func (r Report) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	lines := make([]strings.Builder, 2+len(r.Results))
	for _, c := range r.shownColumns() {
		lines[0].WriteString(c.head + "\t")
		lines[1].WriteString(c.unit + "\t")
		for i, x := range r.Results {
			lines[2+i].WriteString(orDash(c.cell(x)) + "\t")
		}
	}
	for i := range lines {
		fmt.Fprintln(tw, lines[i].String())
	}
	tw.Flush()
	fmt.Fprintln(w)
	tw = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, x := range r.Results {
		for _, d := range x.details() {
			fmt.Fprintf(tw, "  %s\t%s\t%s\t%d\t%s\n", x.Set, x.Service, x.Direction, x.Flows, d)
		}
	}
	tw.Flush()
	_, err := fmt.Fprintf(w, "\nlimit: the sum of rate × (1 − loss) × 1448/1500; best, sum: plain TCP (cubic) on each uplink alone;\nsparse: a UDP flow of 50 packets a second; halved, doubled: until the bond has followed the fastest uplink.\n%s\n", r.origin())
	return err
}

// details are the lines below the table.
func (x Result) details() []string {
	var out []string
	if len(x.Uplinks) > 0 {
		out = append(out, "alone: "+x.alone())
	}
	if x.Cut != "" {
		fill := ""
		if x.Fill != nil {
			fill = fmt.Sprintf(", what is left full after %s ms (filled)", show(x.Fill, "%.0f"))
		}
		out = append(out, fmt.Sprintf("%s turned into a black hole in the middle of a transfer: silent for %s ms (stall)%s, then %s of %s Mb/s (left)",
			x.Cut, show(x.Stall, "%.0f"), fill, show(x.Left, "%.1f"), show(x.LeftMax, "%.1f")))
	}
	if d := x.transferDetails(); d != "" {
		out = append(out, d)
	}
	if m := x.Machine; m != nil {
		out = append(out, fmt.Sprintf("processors: lab %.0f %%, emulator %.0f %%, others %.0f %%; the emulator was late by %s ms (p50/p99)",
			m.Lab*100, m.Emulator*100, m.Others*100, m.Late.show()))
	}
	if x.Memory != nil {
		out = append(out, x.Memory.show())
	}
	out = append(out, x.Notes...)
	if x.Void != "" {
		out = append(out, "VOID: "+x.Void)
	}
	if x.Error != "" {
		out = append(out, "ERROR: "+strings.ReplaceAll(x.Error, "\n", "\n    "))
	}
	return out
}

// origin says how the figures came about.
func (r Report) origin() string {
	return fmt.Sprintf("made by: %s  (%s; %d cores, %s; Linux %s)", r.Command, r.Version, r.Host.Cores, orUnknown(r.Host.CPU), r.Host.Kernel)
}

// alone lists the uplinks with their own rates.
func (x Result) alone() string {
	parts := make([]string, len(x.Uplinks))
	for i, u := range x.Uplinks {
		parts[i] = fmt.Sprintf("%s %.1f of %.1f", u.Name, u.Alone, u.Limit)
	}
	return strings.Join(parts, ", ")
}

func (d *Delays) show() string {
	if d == nil {
		return ""
	}
	if d.P99 < 10 {
		return fmt.Sprintf("%.2f/%.2f", d.P50, d.P99)
	}
	return fmt.Sprintf("%.0f/%.0f", d.P50, d.P99)
}

// spread is the least and the most of a figure of several runs, in brackets.
func (x Result) spread(name string, scale float64) string {
	if s, ok := x.Spread[name]; ok && x.Runs > 1 {
		return fmt.Sprintf(" (%.0f-%.0f)", s[0]*scale, s[1]*scale)
	}
	return ""
}

func show(x *float64, format string) string {
	if x == nil {
		return ""
	}
	return fmt.Sprintf(format, *x)
}

func percent(x, of *float64) string {
	if x == nil || of == nil || *of <= 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", *x / *of * 100)
}
