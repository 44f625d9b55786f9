package uplink

// numbering gives every interface name a number that stays its own.
type numbering struct {
	byName map[string]int
}

// number returns the index of each name, in the order of names. A new name gets
// the lowest number never used; only when all are used up, that of a name that
// is not present now (its sockets are long closed). 0 when even those are out.
func (n *numbering) number(names []string) []int {
	if n.byName == nil {
		n.byName = make(map[string]int)
	}
	present := make(map[string]bool, len(names))
	for _, name := range names {
		present[name] = true
	}
	out := make([]int, len(names))
	for i, name := range names {
		if _, ok := n.byName[name]; !ok {
			if len(n.byName) < MaxIndex {
				n.byName[name] = len(n.byName) + 1
			} else if old, ok := n.absent(present); ok {
				n.byName[name] = n.byName[old]
				delete(n.byName, old)
			}
		}
		out[i] = n.byName[name]
	}
	return out
}

// absent finds the name with the lowest number that is not present.
func (n *numbering) absent(present map[string]bool) (string, bool) {
	best := ""
	for name, i := range n.byName {
		if !present[name] && (best == "" || i < n.byName[best]) {
			best = name
		}
	}
	return best, best != ""
}
