package bench

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestPage reads the page as XML: everything is closed, nothing comes from
// elsewhere, nothing runs, and what was measured is drawn.
func TestPage(t *testing.T) {
	x := sample()
	x.Set, x.Void = "V+A", "transfer: <busy> & slow"
	x.Profile, x.UplinkProfile = []float64{1, 50, 54}, [][]float64{{1, 45, 48}, {0, 5, 6}}
	x.CutSlots, x.CutUplinks, x.CutAt = []float64{50, 0, 9}, [][]float64{{45, 0, 0}, {5, 5, 9}}, number(0.1, 2)
	x.Idle.Steps, x.Loaded.Steps = make([]float64, delaySteps+1), make([]float64, delaySteps+1)
	for i := range x.Idle.Steps {
		x.Idle.Steps[i], x.Loaded.Steps[i] = 16+float64(i)/20, 20+float64(i)
	}
	x.Spread = map[string][2]float64{"bond_mbps": {52, 55}}
	var out bytes.Buffer
	newReport("bench lab", []string{"--set", "V+A"}, []Result{x, {Set: "4A", Service: "packet", Direction: "up", Flows: 8, Limit: 9.65, Error: "broken"}}).writeHTML(&out)
	page := out.String()
	count := map[string]int{}
	classes := map[string]int{}
	dec := xml.NewDecoder(strings.NewReader(page))
	dec.Entity = xml.HTMLEntity
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		el, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		count[el.Name.Local]++
		for _, a := range el.Attr {
			switch a.Name.Local {
			case "src", "href", "srcset", "data", "action", "style":
				t.Errorf("<%s %s=%q>: the page is to need nothing else", el.Name.Local, a.Name.Local, a.Value)
			case "class":
				classes[a.Value]++
			}
			if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
				t.Errorf("<%s %s=%q>", el.Name.Local, a.Name.Local, a.Value)
			}
		}
	}
	for _, never := range []string{"script", "link", "img", "iframe", "object"} {
		if count[never] > 0 {
			t.Errorf("the page has a <%s>", never)
		}
	}
	if strings.Contains(page, "url(") || strings.Contains(page, "@import") || strings.Contains(page, "://") {
		t.Error("the page refers to something outside")
	}
	// The bars, the transfer, the loss, the delays.
	if count["svg"] != 4 || count["polyline"] != 3+3+2 || count["rect"] != 4 || classes["fault"] != 1 || classes["whisker"] != 1 {
		t.Errorf("%d plots, %d lines, %d bars, %d faults, %d whiskers", count["svg"], count["polyline"], count["rect"], classes["fault"], classes["whisker"])
	}
	for _, want := range []string{"vdsl black-holed: stall 180 ms", "transfer: &lt;busy&gt; &amp; slow", "broken", "prefers-color-scheme: dark", "limit 57.9 Mb/s"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestNiceStep(t *testing.T) {
	for x, want := range map[float64]float64{0.3: 0.5, 1: 1, 1.1: 2, 4.2: 5, 7: 10, 130: 200} {
		if got := niceStep(x); got < want*0.999 || got > want*1.001 {
			t.Errorf("step for %g is %g, want %g", x, got, want)
		}
	}
}
