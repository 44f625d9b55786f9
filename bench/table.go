package bench

import (
	"fmt"
	"io"
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
	{"of limit", "", func(r Result) string { return percent(r.Bond, &r.Limit) }},
	{"of best", "", func(r Result) string { return percent(r.Bond, r.Best) }},
	{"ping idle", "p50/p99 ms", func(r Result) string { return r.Idle.show() }},
	{"ping loaded", "p50/p99 ms", func(r Result) string { return r.Loaded.show() }},
	{"CPU", "s/GB", func(r Result) string { return show(r.CPU, "%.1f") }},
	{"stall", "ms", func(r Result) string { return show(r.Stall, "%.0f") }},
	{"left", "Mb/s", func(r Result) string { return show(r.Left, "%.1f") }},
	{"of limit", "", func(r Result) string { return percent(r.Left, r.LeftMax) }},
	{"unplugged", "stall ms", func(r Result) string { return show(r.Unplug, "%.0f") }},
	{"restart", "ms", func(r Result) string { return show(r.Restart, "%.0f") }},
}

// WriteTable prints the report for people: one line per result, details below,
// and at the end what the words mean and how it was made.
func (r Report) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	lines := make([]strings.Builder, 2+len(r.Results))
	for _, c := range columns {
		cells := []string{c.head, c.unit}
		empty := true
		for _, x := range r.Results {
			cell := c.cell(x)
			empty = empty && cell == ""
			if cell == "" {
				cell = "-"
			}
			cells = append(cells, cell)
		}
		if empty {
			continue
		}
		for i, cell := range cells {
			lines[i].WriteString(cell + "\t")
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
			fmt.Fprintf(tw, "  %s\t%s\t%s\n", x.Set, x.Direction, d)
		}
	}
	tw.Flush()
	_, err := fmt.Fprintf(w, "\nlimit: the sum of rate × (1 − loss) × 1448/1500; best, sum: plain TCP (cubic) on each uplink alone.\n%s\n", r.origin())
	return err
}

// details are the lines below the table.
func (x Result) details() []string {
	var out []string
	if len(x.Uplinks) > 0 {
		out = append(out, "alone: "+x.alone())
	}
	if x.Cut != "" {
		out = append(out, fmt.Sprintf("%s turned into a black hole in the middle of a transfer: silent for %s ms (stall), then %s of %s Mb/s (left)",
			x.Cut, show(x.Stall, "%.0f"), show(x.Left, "%.1f"), show(x.LeftMax, "%.1f")))
	}
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
	cpu := r.Host.CPU
	if cpu == "" {
		cpu = "unknown processor"
	}
	return fmt.Sprintf("made by: %s  (%s; %d cores, %s; Linux %s)", r.Command, r.Version, r.Host.Cores, cpu, r.Host.Kernel)
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
