package bench

import (
	"slices"
	"strings"
	"testing"
)

func TestAbsentPeersAreNamed(t *testing.T) {
	old := peers
	t.Cleanup(func() { peers = old })
	peers = []peer{{name: "here", needs: []string{"go"}}, {name: "away", needs: []string{"go", "no-such-program-of-bondd"}}}
	var errs strings.Builder
	got := presentPeers([]string{"here", "away"}, &errs)
	if !slices.Equal(got, []string{"here"}) || !strings.Contains(errs.String(), "away is absent: no-such-program-of-bondd not installed") {
		t.Errorf("%v, %q", got, errs.String())
	}
	if got := presentPeers(nil, &errs); len(got) > 0 {
		t.Errorf("nothing asked for: %v", got)
	}
}

// TestPeersAreMeasuredAsFarAsTheyGo: what carries TCP alone is asked for nothing
// else, and nothing is broken while a peer is measured that may not survive it.
func TestPeersAreMeasuredAsFarAsTheyGo(t *testing.T) {
	p := plan{directions: []string{"down"}, flows: []int{1}, faults: []string{"cut", "unplug"}, idlePings: 10}
	for service, want := range map[string]string{"openvpn": "start idle transfer", "seedstack": "start transfer"} {
		var names []string
		for _, s := range p.bench(Sets()[0], service, false).steps() {
			names = append(names, s.name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: steps %s, want %s", service, got, want)
		}
	}
}
