package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

const compareUsage = `usage: bondd bench compare A.json B.json

Compares two reports (the --json of "bondd bench lab" or "bondd bench sim"): every
figure that both have, as B / A, with the range of that ratio where the reports
have a spread (--repeat). A ratio whose range does not hold 1 is marked: "better"
or "worse" where more or less is known to be better.

`

// CompareMain is `bondd bench compare`. It returns the exit code: 0 done, 1 a file
// cannot be read or nothing can be compared, 2 wrong usage.
func CompareMain(args []string) int { return compareMain(args, os.Stdout, os.Stderr) }

func compareMain(args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && slices.Contains([]string{"-h", "-help", "--help"}, args[0]) {
		fmt.Fprint(stdout, compareUsage)
		return exitOK
	}
	if len(args) != 2 {
		fmt.Fprint(stderr, compareUsage)
		return exitUsage
	}
	var reports [2]Report
	for i, name := range args {
		var err error
		if reports[i], err = readReport(name); err != nil {
			fmt.Fprintf(stderr, "bondd bench compare: %v\n", err)
			return exitFailure
		}
	}
	lines := compare(reports[0], reports[1])
	if len(lines) == 0 {
		fmt.Fprintln(stderr, "bondd bench compare: the reports have no set, service, direction and number of flows in common")
		return exitFailure
	}
	writeComparison(stdout, reports, lines)
	return exitOK
}

func readReport(name string) (r Report, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s is not a report: %w", name, err)
	}
	if r.Schema != schemaVersion {
		return r, fmt.Errorf("%s has schema %d; this bondd compares schema %d", name, r.Schema, schemaVersion)
	}
	return r, nil
}

// comparison is one figure of two reports.
type comparison struct {
	what       string // set, service, direction, flows
	name       string
	a, b       float64
	low, ratio float64 // b / a
	high       float64
}

// compare takes what two reports have in common, in the order of the first.
func compare(a, b Report) (out []comparison) {
	for _, x := range a.Results {
		i := slices.IndexFunc(b.Results, func(y Result) bool {
			return x.Set == y.Set && x.Service == y.Service && x.Direction == y.Direction && x.Flows == y.Flows
		})
		if i < 0 {
			continue
		}
		y := b.Results[i]
		fx, fy := x.figures(), y.figures()
		var names []string
		for name := range fx {
			// The machine's part is no result; the limit is given; a fraction says the same as its rate.
			if _, both := fy[name]; both && fx[name] > 0 && !strings.HasPrefix(name, "machine.") && !strings.Contains(name, "limit") && name != "fraction" && name != "cut_at_s" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			c := comparison{what: fmt.Sprintf("%s %s %s %d", x.Set, x.Service, x.Direction, x.Flows), name: name, a: fx[name], b: fy[name], ratio: fy[name] / fx[name]}
			sx, sy := rangeOf(x, name, c.a), rangeOf(y, name, c.b)
			c.low = sy[0] / sx[1]
			if c.high = math.Inf(1); sx[0] > 0 {
				c.high = sy[1] / sx[0]
			}
			out = append(out, c)
		}
	}
	return out
}

// rangeOf is the spread of a figure, or the figure itself.
func rangeOf(r Result, name string, x float64) [2]float64 {
	if s, ok := r.Spread[name]; ok {
		return s
	}
	return [2]float64{x, x}
}

// verdict says what a ratio means, where its range leaves no doubt.
func (c comparison) verdict(spread bool) string {
	if !spread || c.low <= 1 && c.high >= 1 {
		return ""
	}
	more := c.low > 1
	switch {
	case strings.HasSuffix(c.name, "_mbps"):
	case strings.Contains(c.name, "_ms") || c.name == "cpu_s_per_gb":
		more = !more
	default:
		return "differs"
	}
	if more {
		return "better"
	}
	return "worse"
}

func writeComparison(w io.Writer, reports [2]Report, lines []comparison) {
	spread := slices.ContainsFunc(reports[0].Results, func(r Result) bool { return r.Runs > 1 }) && slices.ContainsFunc(reports[1].Results, func(r Result) bool { return r.Runs > 1 })
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	what := ""
	for _, c := range lines {
		if c.what != what {
			what = c.what
			fmt.Fprintf(tw, "%s\tA\tB\tB / A\t\t\n", what)
		}
		between := ""
		if spread {
			between = fmt.Sprintf("%.2f to %.2f", c.low, c.high)
		}
		fmt.Fprintf(tw, "  %s\t%.4g\t%.4g\t%.2f\t%s\t%s\n", c.name, c.a, c.b, c.ratio, between, c.verdict(spread))
	}
	tw.Flush()
	for i, r := range reports {
		fmt.Fprintf(w, "\n%c: %s", 'A'+i, r.origin())
	}
	fmt.Fprintln(w)
	if !spread {
		fmt.Fprintln(w, "One run each says little about a difference; --repeat 5 gives the ratios a range.")
	}
}
