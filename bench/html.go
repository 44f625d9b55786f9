package bench

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"os"
	"strings"
)

// htmlStyle is all there is to the looks of the page; colours follow the reader's
// choice of light or dark.
const htmlStyle = `
:root { color-scheme: light dark; --bg: #fcfcfa; --fg: #1d2126; --dim: #6a7078; --line: #dfe1e3; --bond: #0b62d6; --fault: #c62828;
  --c0: #e07b00; --c1: #2a9d50; --c2: #9450b8; --c3: #b5455f; --c4: #62801c; --c5: #34808c; }
@media (prefers-color-scheme: dark) { :root { --bg: #14171b; --fg: #e6e8ea; --dim: #969ca4; --line: #30353b; --bond: #62a8ff; --fault: #ff7066;
  --c0: #ffa940; --c1: #5fd08a; --c2: #c890ec; --c3: #f08aa2; --c4: #b4cf5c; --c5: #68c6d4; } }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 62rem; background: var(--bg); color: var(--fg); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .2rem; } h3 { font-size: .95rem; margin: 1.4rem 0 .3rem; }
p { margin: .3rem 0; } .dim, figcaption { color: var(--dim); font-size: .86rem; } .bad { color: var(--fault); }
code { font-size: .86rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; margin: .8rem 0; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; } th { font-weight: 600; vertical-align: bottom; }
th small { display: block; font-weight: 400; color: var(--dim); } td:first-child, th:first-child { text-align: left; padding-left: 0; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--fg); font: 12px system-ui, sans-serif; } svg text.tick { fill: var(--dim); font-size: 11px; }
svg text.faulttext { fill: var(--fault); font-size: 11px; } .grid { stroke: var(--line); } .level { stroke: var(--dim); stroke-dasharray: 5 4; }
.fault { stroke: var(--fault); stroke-width: 1.5; } .whisker { stroke: var(--fg); stroke-width: 2; } .curve { fill: none; stroke-width: 1.4; stroke-linejoin: round; }
.curve.bond { stroke-width: 2; } .legend { color: var(--dim); font-size: .86rem; } .key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .35em 0 .8em; }
.plain { stroke: var(--dim); } .bar.plain { fill: var(--dim); stroke: none; } .key.plain { background: var(--dim); }
.bond { stroke: var(--bond); } .bar.bond { fill: var(--bond); stroke: none; } .key.bond { background: var(--bond); }
.c0 { stroke: var(--c0); } .bar.c0 { fill: var(--c0); stroke: none; } .key.c0 { background: var(--c0); }
.c1 { stroke: var(--c1); } .bar.c1 { fill: var(--c1); stroke: none; } .key.c1 { background: var(--c1); }
.c2 { stroke: var(--c2); } .bar.c2 { fill: var(--c2); stroke: none; } .key.c2 { background: var(--c2); }
.c3 { stroke: var(--c3); } .bar.c3 { fill: var(--c3); stroke: none; } .key.c3 { background: var(--c3); }
.c4 { stroke: var(--c4); } .bar.c4 { fill: var(--c4); stroke: none; } .key.c4 { background: var(--c4); }
.c5 { stroke: var(--c5); } .bar.c5 { fill: var(--c5); stroke: none; } .key.c5 { background: var(--c5); }
@media print { body { max-width: none; } h2 { break-after: avoid; } svg { break-inside: avoid; } }
`

// writeHTMLFile writes the page.
func (r Report) writeHTMLFile(name string) error {
	var b bytes.Buffer
	r.writeHTML(&b)
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// writeHTML writes the report as one page that needs nothing else: no script, no
// font, no image. It is well-formed XML, so that a test can read it.
func (r Report) writeHTML(w io.Writer) {
	e := html.EscapeString
	fmt.Fprintf(w, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"+
		"<title>%s</title><style>%s</style></head><body>\n", e(r.Command), htmlStyle)
	fmt.Fprintf(w, "<h1>What the bond makes of its uplinks</h1>\n<p><code>%s</code></p>\n<p class=\"dim\">bondd %s; %d cores, %s; Linux %s</p>\n",
		e(r.Command), e(r.Version), r.Host.Cores, e(orUnknown(r.Host.CPU)), e(r.Host.Kernel))
	r.htmlTable(w)
	fmt.Fprint(w, "<p class=\"dim\">limit: the sum over uplinks of rate × (1 − loss) × 1448/1500, what plain TCP could carry at best. best, sum: plain TCP on each uplink "+
		"alone. sparse: one-way delay of a UDP flow of 50 packets a second. stall: the longest silence after the busiest uplink turned into a black hole. "+
		"halved, doubled: until the bond has followed the fastest uplink to within 5 %. 50 kB, 1 MB, GET: downloads on new connections, from the first SYN "+
		"to the last byte; GET are many of 10 kB, on idle lines and beside a bulk download.</p>\n")
	set := ""
	for i := 0; i < len(r.Results); {
		x := r.Results[i]
		n := 1
		for i+n < len(r.Results) && r.Results[i+n].Set == x.Set {
			n++
		}
		if x.Set != set {
			set = x.Set
			fmt.Fprintf(w, "<h2>%s</h2>\n", e(x.Set))
			if s, err := FindSets(x.Set); err == nil {
				fmt.Fprintf(w, "<p class=\"dim\">%s", e(s[0].Title))
				for _, u := range s[0].Uplinks {
					fmt.Fprintf(w, "<br/>%s: %s", e(u.Name), e(u.describe()))
				}
				fmt.Fprint(w, "</p>\n")
			}
		}
		htmlSet(w, r.Results[i:i+n])
		i += n
	}
	fmt.Fprint(w, "</body></html>\n")
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown processor"
	}
	return s
}

// htmlTable is the table of the terminal.
func (r Report) htmlTable(w io.Writer) {
	fmt.Fprint(w, "<div class=\"scroll\"><table>\n<tr>")
	shown := r.shownColumns()
	for _, c := range shown {
		fmt.Fprintf(w, "<th>%s<small>%s</small></th>", html.EscapeString(c.head), html.EscapeString(c.unit))
	}
	fmt.Fprint(w, "</tr>\n")
	for _, x := range r.Results {
		fmt.Fprint(w, "<tr>")
		for _, c := range shown {
			fmt.Fprintf(w, "<td>%s</td>", html.EscapeString(orDash(c.cell(x))))
		}
		fmt.Fprint(w, "</tr>\n")
	}
	fmt.Fprint(w, "</table></div>\n")
}

// htmlSet shows the results of one set: first all against the limit, then each
// over time.
func htmlSet(w io.Writer, list []Result) {
	for _, direction := range []string{"down", "up"} {
		var bs []bar
		limit := 0.0
		for _, x := range list {
			if x.Direction != direction {
				continue
			}
			limit = x.Limit
			if bs == nil && x.Sum != nil {
				for i, u := range x.Uplinks {
					bs = append(bs, bar{name: u.Name + " alone", class: colour(i), value: u.Alone, text: fmt.Sprintf("%.1f", u.Alone)})
				}
				bs = append(bs, bar{name: "their sum", class: "plain", value: *x.Sum, text: fmt.Sprintf("%.1f", *x.Sum)})
			}
			if x.Bond != nil {
				bs = append(bs, bar{name: x.name(), class: "bond", value: *x.Bond, text: fmt.Sprintf("%.1f, %s", *x.Bond, percent(x.Bond, &x.Limit)), spread: x.Spread["bond_mbps"]})
			}
		}
		if len(bs) > 0 {
			fmt.Fprintf(w, "<h3>%s: one after the other, Mb/s of payload</h3>\n%s\n", html.EscapeString(direction), bars(direction, bs, limit))
		}
	}
	for _, x := range list {
		for _, d := range []struct{ class, text string }{{"bad", x.Error}, {"bad", orPrefix("void: ", x.Void)}, {"dim", strings.Join(x.Notes, "; ")}, {"dim", x.transferDetails()}} {
			if d.text != "" {
				fmt.Fprintf(w, "<p class=\"%s\">%s, %s: %s</p>\n", d.class, html.EscapeString(x.name()), html.EscapeString(x.Direction), html.EscapeString(d.text))
			}
		}
		for _, p := range []plot{x.overTime(), x.fault(), x.delays()} {
			if svg := p.svg(); svg != "" {
				fmt.Fprintf(w, "<h3>%s, %s: %s</h3>\n%s\n", html.EscapeString(x.name()), html.EscapeString(x.Direction), html.EscapeString(p.title), svg)
			}
		}
	}
}

func orPrefix(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// name is what carried how many flows.
func (x Result) name() string {
	if x.Flows == 1 {
		return x.Service
	}
	return fmt.Sprintf("%s × %d", x.Service, x.Flows)
}

func colour(i int) string { return fmt.Sprintf("c%d", i%colours) }

// overTime is the transfer through the bond.
func (x Result) overTime() plot {
	p := plot{title: "a transfer over time", xLabel: "s", yLabel: "Mb/s", level: &x.Limit, levelText: "limit"}
	p.curves = x.lines(x.Profile, x.UplinkProfile)
	return p
}

// fault is the transfer during which an uplink was lost.
func (x Result) fault() plot {
	p := plot{title: "the loss of an uplink", xLabel: "s", yLabel: "Mb/s", level: x.LeftMax, levelText: "limit of what is left"}
	p.curves = x.lines(x.CutSlots, x.CutUplinks)
	if x.CutAt != nil {
		p.marks = []mark{{*x.CutAt, fmt.Sprintf("%s black-holed: stall %s ms", x.Cut, show(x.Stall, "%.0f"))}}
	}
	return p
}

// lines are the uplinks' and the bond's rates over time.
func (x Result) lines(bond []float64, uplinks [][]float64) (out []curve) {
	for i, ys := range uplinks {
		if i < len(x.Uplinks) {
			out = append(out, overSlots(x.Uplinks[i].Name, colour(i), ys))
		}
	}
	if len(bond) > 0 {
		out = append(out, overSlots(x.Service, "bond", bond))
	}
	return out
}

func overSlots(name, class string, ys []float64) curve {
	c := curve{name: name, class: class, y: ys}
	for i := range ys {
		c.x = append(c.x, (float64(i)+0.5)*slotTime.Seconds())
	}
	return c
}

// delays are the distributions of what was measured beside the transfer.
func (x Result) delays() plot {
	p := plot{title: "delays, share that is at most so long", xLabel: "ms", yLabel: "% of packets"}
	for i, d := range []struct {
		name   string
		delays *Delays
	}{{"echo, idle", x.Idle}, {"echo, loaded", x.Loaded}, {"sparse flow one way, idle", x.SparseIdle}, {"sparse flow one way, loaded", x.SparseLoaded}} {
		if d.delays == nil || len(d.delays.Steps) == 0 {
			continue
		}
		c := curve{name: d.name, class: colour(i)}
		for k, ms := range d.delays.Steps {
			c.x, c.y = append(c.x, ms), append(c.y, float64(k)/delaySteps*100)
		}
		p.curves = append(p.curves, c)
	}
	return p
}
