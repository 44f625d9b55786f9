package uplink

import "slices"

// Verb is what an Op does with its item.
type Verb uint8

const (
	// Add puts the item in place.
	Add Verb = iota
	// Replace exchanges the item of the same key without a moment of neither.
	Replace
	// Remove takes the item away; for a Sysctl it restores the value found.
	Remove
)

func (v Verb) word() string { return [...]string{"add", "replace", "del"}[v] }

// Op is one step from one state to another.
type Op struct {
	Verb Verb
	Item Item
}

// String is the step as a command that a person could type.
func (o Op) String() string { return o.Item.text(o.Verb) }

// Diff returns the steps that lead from have to want: first what is new or
// different, in the order of want, then what is too much, in the reverse order
// of have. (New before old, so that a changed address is never without a rule.)
// It is pure; Diff(p, p) is empty, Diff(p, Plan{}) undoes p.
func Diff(have, want Plan) []Op {
	var ops []Op
	for _, it := range want.Items {
		switch {
		case slices.Contains(have.Items, it):
		case hasKey(have.Items, it.key()):
			ops = append(ops, Op{Replace, it})
		default:
			ops = append(ops, Op{Add, it})
		}
	}
	for _, it := range slices.Backward(have.Items) {
		if !hasKey(want.Items, it.key()) {
			ops = append(ops, Op{Remove, it})
		}
	}
	return ops
}

func hasKey(items []Item, k Item) bool {
	return slices.ContainsFunc(items, func(it Item) bool { return it.key() == k })
}
