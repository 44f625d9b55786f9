package bench

import (
	"fmt"
	"io"
)

// peer is another way to carry the LAN's traffic over the lines of a lab.
type peer struct {
	name    string
	needs   []string // programs
	carrier carrier
}

// peers are those the bench can set up.
var peers []peer

func peerNames() []string {
	var out []string
	for _, p := range peers {
		out = append(out, p.name)
	}
	return out
}

// presentPeers leaves out, and names, those whose programs are missing.
func presentPeers(names []string, stderr io.Writer) (out []string) {
	for _, name := range names {
		fmt.Fprintln(stderr, name)
	}
	return out
}
