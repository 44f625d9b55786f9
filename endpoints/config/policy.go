package config

// Policy says how packets are spread over the paths, by both ends of the bond.
type Policy string

// The policies.
const (
	PolicyAggregate Policy = "aggregate" // each packet on the path by which it arrives first: the sum of all
	PolicyRedundant Policy = "redundant" // each packet on the two best paths
	PolicyStandby   Policy = "standby"   // everything on the best path; the others wait
)

func checkPolicy(p Policy) error {
	return checkWord(string(p), string(PolicyAggregate), string(PolicyRedundant), string(PolicyStandby))
}
