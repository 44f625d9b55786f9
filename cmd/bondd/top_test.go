package main

import (
	"bytes"
	"strings"
	"testing"
)

const someTop = `bondd gateway, up; 3 streams

exit             out 8.0 Mb/s, in 20.0 Mb/s, waiting 0 B
PATH             STATE            RTT     ADDED    LOSS  OUT                                         IN
dsl              up           21.3 ms    1.0 ms   0.00%     6.0 Mb/s ===                         @@    20.0 Mb/s ==========                  @@
exit/3           probing       0.0 ms    0.0 ms   0.00%     2.0 Mb/s =                           @@     0.0 Mb/s

Uplink lte is down: interface wwan0 has no link.
`

func TestDrawTop(t *testing.T) {
	h := history{}
	var out bytes.Buffer
	for range 2 {
		out.Reset()
		drawTop(&out, someStatus(), h)
	}
	var got strings.Builder
	for line := range strings.Lines(out.String()) {
		got.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	if got.String() != someTop {
		t.Errorf("got\n%s\nwant\n%s", got.String(), someTop)
	}
	for range 30 { // the oldest looks are forgotten
		drawTop(&out, someStatus(), h)
	}
	for _, list := range h {
		if len(list[0]) != looks {
			t.Errorf("%d looks are remembered, want %d", len(list[0]), looks)
		}
	}
}
