package bench

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// A plot is an inline SVG whose colours come from the page's style sheet: classes
// c0, c1, ... are the uplinks', "bond" is the bond's.
const (
	plotWidth, plotHeight      = 720, 250
	plotLeft, plotRight        = 52, 12
	plotTop, plotBottom        = 26, 34
	plotTicks                  = 5
	innerWidth, innerHeight    = plotWidth - plotLeft - plotRight, plotHeight - plotTop - plotBottom
	colours                    = 6
	barHeight, barGap, barText = 22, 10, 170
	barRight                   = 90   // for the figure behind the bar
	barDigit                   = 7    // about, the width of a digit of it
	pointsAtMost               = 1200 // of one line: more cannot be seen
	tickRise                   = 4    // from the foot of a tick's text to its middle
)

// curve is one line of a plot.
type curve struct {
	name, class string
	x, y        []float64
}

// mark is a vertical line with words.
type mark struct {
	x    float64
	text string
}

// plot is a plot of lines.
type plot struct {
	title, xLabel, yLabel string
	curves                []curve
	marks                 []mark
	level                 *float64 // a horizontal line: the limit
	levelText             string
}

// svg draws it. An empty plot is an empty string.
func (p plot) svg() string {
	xMax, yMax := 0.0, 0.0
	for _, c := range p.curves {
		for i := range c.x {
			xMax, yMax = math.Max(xMax, c.x[i]), math.Max(yMax, c.y[i])
		}
	}
	if p.level != nil {
		yMax = math.Max(yMax, *p.level)
	}
	if xMax == 0 || yMax == 0 {
		return ""
	}
	xStep, yStep := niceStep(xMax/plotTicks), niceStep(yMax/plotTicks)
	yMax = math.Ceil(yMax/yStep*0.999) * yStep
	px := func(x float64) float64 { return plotLeft + x/xMax*innerWidth }
	py := func(y float64) float64 { return plotTop + innerHeight - y/yMax*innerHeight }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, plotWidth, plotHeight, html.EscapeString(p.title))
	for y := 0.0; y <= yMax*1.0001; y += yStep {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, plotLeft, plotWidth-plotRight, py(y), py(y))
		fmt.Fprintf(&b, `<text class="tick" text-anchor="end" x="%d" y="%.1f">%g</text>`, plotLeft-6, py(y)+tickRise, round(y, 3))
	}
	for x := 0.0; x <= xMax*1.0001; x += xStep {
		fmt.Fprintf(&b, `<text class="tick" text-anchor="middle" x="%.1f" y="%d">%g</text>`, px(x), plotTop+innerHeight+15, round(x, 3))
	}
	fmt.Fprintf(&b, `<text class="tick" text-anchor="end" x="%d" y="%d">%s</text>`, plotWidth-plotRight, plotHeight-4, html.EscapeString(p.xLabel))
	fmt.Fprintf(&b, `<text class="tick" x="2" y="10">%s</text>`, html.EscapeString(p.yLabel))
	if p.level != nil {
		fmt.Fprintf(&b, `<line class="level" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, plotLeft, plotWidth-plotRight, py(*p.level), py(*p.level))
		fmt.Fprintf(&b, `<text class="tick" text-anchor="end" x="%d" y="%.1f">%s</text>`, plotWidth-plotRight-2, py(*p.level)-3, html.EscapeString(p.levelText))
	}
	for _, m := range p.marks {
		fmt.Fprintf(&b, `<line class="fault" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, px(m.x), px(m.x), plotTop, plotTop+innerHeight)
		fmt.Fprintf(&b, `<text class="faulttext" x="%.1f" y="%d">%s</text>`, px(m.x)+4, plotTop+10, html.EscapeString(m.text))
	}
	for _, c := range p.curves {
		fmt.Fprintf(&b, `<polyline class="curve %s" points="`, c.class)
		every := max(1, len(c.x)/pointsAtMost)
		for i := 0; i < len(c.x); i += every {
			fmt.Fprintf(&b, "%.1f,%.1f ", px(c.x[i]), py(c.y[i]))
		}
		b.WriteString(`"/>`)
	}
	b.WriteString("</svg>")
	return b.String() + p.legend()
}

// legend names the lines.
func (p plot) legend() string {
	var b strings.Builder
	b.WriteString(`<p class="legend">`)
	for _, c := range p.curves {
		fmt.Fprintf(&b, `<span class="key %s"></span>%s `, c.class, html.EscapeString(c.name))
	}
	b.WriteString("</p>")
	return b.String()
}

// niceStep is the least of 1, 2, 5 times a power of ten that is at least x.
func niceStep(x float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 5} {
		if m*p >= x*0.999 {
			return m * p
		}
	}
	return 10 * p
}

// bar is one bar of a bar chart.
type bar struct {
	name, class string
	value       float64
	text        string     // behind it
	spread      [2]float64 // drawn as a whisker where it is one
}

// bars draws bars against a limit.
func bars(title string, list []bar, limit float64) string {
	most := limit
	for _, x := range list {
		most = math.Max(most, math.Max(x.value, x.spread[1]))
	}
	if most == 0 {
		return ""
	}
	height := len(list)*(barHeight+barGap) + plotBottom
	px := func(v float64) float64 { return barText + v/most*(plotWidth-barText-barRight-plotRight) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, plotWidth, height, html.EscapeString(title))
	for i, x := range list {
		y := i * (barHeight + barGap)
		fmt.Fprintf(&b, `<text class="label" text-anchor="end" x="%d" y="%d">%s</text>`, barText-8, y+barHeight-6, html.EscapeString(x.name))
		fmt.Fprintf(&b, `<rect class="bar %s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, x.class, barText, y, math.Max(1, px(x.value)-barText), barHeight)
		end := px(math.Max(x.value, x.spread[1]))
		if x.spread[1] > x.spread[0] {
			fmt.Fprintf(&b, `<line class="whisker" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, px(x.spread[0]), px(x.spread[1]), y+barHeight/2, y+barHeight/2)
		}
		if at, width := px(limit), float64(len(x.text))*barDigit+10; end <= at && end+width > at { // not across the line of the limit
			end = at
		}
		fmt.Fprintf(&b, `<text class="label" x="%.1f" y="%d">%s</text>`, end+6, y+barHeight-6, html.EscapeString(x.text))
	}
	bottom := len(list) * (barHeight + barGap)
	fmt.Fprintf(&b, `<line class="level" x1="%.1f" x2="%.1f" y1="0" y2="%d"/>`, px(limit), px(limit), bottom)
	fmt.Fprintf(&b, `<text class="tick" text-anchor="end" x="%.1f" y="%d">limit %.1f Mb/s</text>`, px(limit)+barRight-tickRise, bottom+14, limit)
	b.WriteString("</svg>")
	return b.String()
}
