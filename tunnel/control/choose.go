package control

import (
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sys/cpu"

	"github.com/bondd/bondd/tunnel/seal"
)

// spoken are the versions this end speaks.
var spoken = []int{Version}

// chooseVersion returns the newest version both ends speak.
func chooseVersion(offered []int) (int, error) {
	best := 0
	for _, v := range offered {
		if slices.Contains(spoken, v) {
			best = max(best, v)
		}
	}
	if best == 0 {
		return 0, fmt.Errorf("%w: the gateway speaks %v, the exit %v; update the older of the two", ErrVersion, offered, spoken)
	}
	return best, nil
}

// Suites returns the names of the cipher suites this build can use, for an
// Offer.
func Suites() []string {
	return []string{seal.SuiteAES128GCM.String(), seal.SuiteChaCha20Poly1305.String()}
}

// chooseSuite returns the suite for a session: AES where both CPUs accelerate
// it, as it is then about twice as fast; else ChaCha20, which is fast
// everywhere; else whatever both ends have.
func chooseSuite(offered []string, theirAES, ourAES bool) (seal.Suite, error) {
	order := []seal.Suite{seal.SuiteChaCha20Poly1305, seal.SuiteAES128GCM}
	if theirAES && ourAES {
		slices.Reverse(order)
	}
	for _, s := range order {
		if slices.Contains(offered, s.String()) {
			return s, nil
		}
	}
	return 0, fmt.Errorf("%w: the gateway has %q, the exit %q; update the older of the two", ErrSuite, offered, Suites())
}

// AESAccelerated reports whether this CPU has instructions for AES-GCM that the
// standard library uses.
func AESAccelerated() bool {
	switch runtime.GOARCH {
	case "amd64":
		return cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && cpu.X86.HasSSE41 && cpu.X86.HasSSSE3
	case "arm64":
		return cpu.ARM64.HasAES && cpu.ARM64.HasPMULL
	case "s390x":
		return cpu.S390X.HasAES && cpu.S390X.HasAESGCM
	case "ppc64", "ppc64le":
		return true // every CPU Go supports there has them
	}
	return false
}
