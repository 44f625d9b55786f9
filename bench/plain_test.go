package bench

import (
	"strings"
	"testing"
	"time"
)

// TestPlain moves data over bare wires by each service, both ways, as `bondd bench lab --set plain` does. How fast it is says nothing on a busy
// machine; that something has arrived, that it has cost something, and that the memory stays within reason, always does.
func TestPlain(t *testing.T) {
	if testing.Short() {
		t.Skip("runs in real time; skipped with -short")
	}
	if notAllowed != nil {
		t.Skip(notAllowed)
	}
	p := plan{services: []string{"stream", "packet", "auto"}, flows: []int{1}, duration: 300 * time.Millisecond, seed: 1, progress: t.Output()}
	if got := strings.Join(p.plainSystems(), " "); got != "wireguard-go packet stream" {
		t.Errorf("the systems are %s", got)
	}
	// Gateway and exit together, RSS. The bounds of all their queues and of the memory of one stream are well below.
	const most = 400 // MB
	rep := PlainReport{Command: "test"}
	for _, turn := range []struct{ system, direction string }{{"packet", "down"}, {"stream", "up"}} {
		r, err := p.plainTurn(t.Context(), turn.system, 2, turn.direction)
		if err != nil {
			t.Fatalf("%s %s: %v", turn.system, turn.direction, err)
		}
		if r.gbps <= 0 || r.cpu <= 0 || r.small <= 0 {
			t.Errorf("%s %s: %+v", turn.system, turn.direction, r)
		}
		for when, mb := range map[string]float64{"before": r.idle, "during": r.loaded, "after": r.after} {
			if mb < 1 || mb > most {
				t.Errorf("%s %s: %.0f MB %s the transfer", turn.system, turn.direction, mb, when)
			}
		}
		rep.Results = append(rep.Results, plainResult(turn.system, 2, turn.direction, []plainRound{r}, []plainRound{r}))
	}
	var table strings.Builder
	if err := rep.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"packet      2  down", "stream      2    up", "1.00"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
}
