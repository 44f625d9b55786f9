package bench

import (
	"encoding/json"
	"slices"
	"strings"
)

// merge joins the results of several runs: the figures of one set, service,
// direction and number of flows become their medians, with the spread. Runs that
// are void or failed do not count where there are others.
func merge(runs []Result) []Result {
	type key struct {
		set, service, direction string
		flows                   int
	}
	var order []key
	groups := map[key][]Result{}
	for _, r := range runs {
		k := key{r.Set, r.Service, r.Direction, r.Flows}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], r)
	}
	var out []Result
	for _, k := range order {
		out = append(out, typical(groups[k]))
	}
	return out
}

// typical joins runs of the same thing.
func typical(runs []Result) Result {
	good := slices.DeleteFunc(slices.Clone(runs), func(r Result) bool { return r.Error != "" || r.Void != "" })
	if len(good) == 0 {
		good = runs
	}
	slices.SortStableFunc(good, func(a, b Result) int {
		switch x, y := orZero(a.Bond), orZero(b.Bond); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	middle := good[(len(good)-1)/2] // whose lists are shown
	if len(runs) == 1 {
		return middle
	}
	all := make([]map[string]float64, len(good))
	for i, r := range good {
		all[i] = r.figures()
	}
	middle.Spread = map[string][2]float64{}
	for name := range middle.figures() {
		var xs []float64
		for _, m := range all {
			if x, ok := m[name]; ok {
				xs = append(xs, x)
			}
		}
		slices.Sort(xs)
		middle.set(name, (xs[(len(xs)-1)/2]+xs[len(xs)/2])/2)
		middle.Spread[name] = [2]float64{xs[0], xs[len(xs)-1]}
	}
	middle.Runs = len(good)
	return middle
}

func orZero(x *float64) float64 {
	if x == nil {
		return 0
	}
	return *x
}

// tree is a result as its JSON has it: what is new in Result needs no word here.
func (r Result) tree() map[string]any {
	r.Spread, r.Runs = nil, 0
	text, err := json.Marshal(r)
	if err != nil {
		panic("bench: a result that cannot be written: " + err.Error()) // NaN or Inf: a mistake in this package
	}
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		panic("bench: a result that cannot be read: " + err.Error())
	}
	return tree
}

// figures are the numbers of a result by their names in JSON; those inside an
// object have its name before a dot. Lists are none, nor is what was asked for.
func (r Result) figures() map[string]float64 {
	out := map[string]float64{}
	var add func(outer string, tree map[string]any)
	add = func(outer string, tree map[string]any) {
		for name, v := range tree {
			name = outer + name
			switch v := v.(type) {
			case float64:
				if !slices.Contains(asked, name) {
					out[name] = v
				}
			case map[string]any:
				add(name+".", v)
			}
		}
	}
	add("", r.tree())
	return out
}

// asked are the numbers of a result that say what was measured.
var asked = []string{"flows", "requests.bytes", "requests.count"}

// set changes one of figures.
func (r *Result) set(name string, x float64) {
	tree := r.tree()
	at, last := tree, name
	for outer, inner, ok := strings.Cut(last, "."); ok; outer, inner, ok = strings.Cut(last, ".") {
		at, last = at[outer].(map[string]any), inner
	}
	at[last] = round(x, 3)
	text, err := json.Marshal(tree)
	if err == nil {
		kept := *r
		*r = Result{Spread: kept.Spread, Runs: kept.Runs, done: kept.done}
		err = json.Unmarshal(text, r)
	}
	if err != nil {
		panic("bench: " + name + ": " + err.Error())
	}
}
