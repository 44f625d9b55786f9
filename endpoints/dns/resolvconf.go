package dns

import (
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// confFresh is how often the file is looked at.
const confFresh = 5 * time.Second

// ResolvConf returns the servers of a resolv.conf(5) as it is now. Any goroutine may call the function.
func ResolvConf(file string) func() []netip.AddrPort {
	var mu sync.Mutex
	var at, changed time.Time
	var list []netip.AddrPort
	return func() []netip.AddrPort {
		mu.Lock()
		defer mu.Unlock()
		if !at.IsZero() && time.Since(at) < confFresh {
			return list
		}
		at = time.Now()
		st, err := os.Stat(file)
		if err != nil || st.ModTime().Equal(changed) {
			return list
		}
		conf, err := dns.ClientConfigFromFile(file)
		if err != nil {
			return list
		}
		changed, list = st.ModTime(), nil
		for _, s := range conf.Servers {
			a, err := netip.ParseAddr(s)
			port, err2 := strconv.ParseUint(conf.Port, 10, 16)
			if err == nil && err2 == nil {
				list = append(list, netip.AddrPortFrom(a, uint16(port)))
			}
		}
		return list
	}
}
