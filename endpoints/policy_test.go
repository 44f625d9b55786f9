package endpoints

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/scheduler"
	"github.com/bondd/bondd/tunnel"
)

// What a gateway's file says, both ends do; what is not known is the default.
func TestPolicyIsTold(t *testing.T) {
	for name, want := range policies {
		if got := policyIn(gatewayCapabilities(&config.Config{Policy: name})); got != want {
			t.Errorf("%q arrives as %v, want %v", name, got, want)
		}
	}
	if got := policyIn([]string{capStreams, capPolicy + "psychic"}); got != scheduler.Aggregate {
		t.Errorf("an unknown policy is taken for %v", got)
	}
}

// The sessions at both ends are made with it.
func TestPolicyOfBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.gateway.cfg.Policy = config.PolicyStandby
		var made []scheduler.Policy
		var mu sync.Mutex
		for _, m := range []*machineTest{w.gateway, w.exit} {
			m.h.newSession = func(now time.Duration, cfg tunnel.Config, rng *rand.Rand) (session, error) {
				mu.Lock()
				made = append(made, cfg.Policy)
				mu.Unlock()
				return newSession(now, cfg, rng)
			}
		}
		defer w.ended(w.exit)
		w.exit.start()
		defer w.ended(w.gateway)
		w.gateway.start()
		w.waitEcho(5 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if len(made) < 2 {
			t.Fatalf("%d sessions were made", len(made))
		}
		for _, p := range made {
			if p != scheduler.Standby {
				t.Errorf("a session has policy %v", p)
			}
		}
	})
}
