package endpoints

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestLookedAtAgain: a path that has failed is looked at again, a bounded number of times: the first look may come too soon.
func TestLookedAtAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &gatewayCarriers{paths: make(chan pathNews, 1)}
		u := &carryUplink{rtt: 20 * time.Millisecond}
		n, begin := pathNews{uplink: "one", late: true}, time.Now()
		for looks := 1; ; looks++ {
			c.lookLater(u, n)
			time.Sleep(failAfter)
			synctest.Wait()
			select {
			case n = <-c.paths:
				if n.looks != looks {
					t.Fatalf("look %d counts as %d", looks, n.looks)
				}
				continue
			default:
			}
			if looks != failLooks+1 {
				t.Errorf("looked at %d times in %v", looks-1, time.Since(begin))
			}
			return
		}
	})
}
