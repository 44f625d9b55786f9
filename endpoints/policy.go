package endpoints

import (
	"strings"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/scheduler"
)

// capPolicy, with the policy behind it, is what a gateway wants of its exit's sending. An exit that does not know it aggregates.
const capPolicy = "policy "

// policies are the scheduler's, by their names in the configuration.
var policies = map[config.Policy]scheduler.Policy{
	config.PolicyAggregate: scheduler.Aggregate,
	config.PolicyRedundant: scheduler.Redundant,
	config.PolicyStandby:   scheduler.Standby,
}

// gatewayCapabilities are what a gateway says in its hello.
func gatewayCapabilities(cfg *config.Config) []string {
	list := []string{capStreams}
	if cfg.Policy != config.PolicyAggregate && cfg.Policy != "" {
		list = append(list, capPolicy+string(cfg.Policy))
	}
	return list
}

// policyIn is the policy that a hello asks for.
func policyIn(capabilities []string) scheduler.Policy {
	for _, c := range capabilities {
		if name, ok := strings.CutPrefix(c, capPolicy); ok {
			return policies[config.Policy(name)] // one of a later version is the default
		}
	}
	return scheduler.Aggregate
}
