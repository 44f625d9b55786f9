package endpoints

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// listening are the addresses on which programs of this machine take what comes: TCP listeners, or UDP sockets that are not connected. As
// /proc/net has them (proc_net_tcp.rst of the kernel); none where that cannot be read.
func listening(udp bool) (out []netip.AddrPort) {
	files, state := []string{"tcp", "tcp6"}, "0A" // TCP_LISTEN
	if udp {
		files, state = []string{"udp", "udp6"}, "07" // TCP_CLOSE: not connected
	}
	for _, name := range files {
		text, err := os.ReadFile("/proc/self/net/" + name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 4 || f[3] != state {
				continue
			}
			if at, ok := parseProcAddr(f[1]); ok {
				out = append(out, at)
			}
		}
	}
	return out
}

// parseProcAddr reads "0100007F:0016": words of 32 bits in the byte order of the machine, and a port.
func parseProcAddr(s string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	p, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	a, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), ok
}
