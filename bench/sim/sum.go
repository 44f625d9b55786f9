package sim

// Sum is several flows seen as one: their payload together. The details of the
// single flows are not in it.
func Sum(flows []*FlowResult) *FlowResult {
	if len(flows) == 1 {
		return flows[0]
	}
	all := &FlowResult{}
	for _, f := range flows {
		if n := len(f.Series) - len(all.Series); n > 0 {
			all.Series = append(all.Series, make([]int64, n)...)
		}
		for i, b := range f.Series {
			all.Series[i] += b
		}
		all.Received += f.Received
	}
	return all
}
