package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/bondd/bondd/endpoints/dial"
)

// maxHead bounds a request with its fields; the usual one has some hundred bytes.
const maxHead = 8 << 10

// httpError is a request that is wrong, with the status that says so.
type httpError struct {
	status int
	why    string
}

func (e *httpError) Error() string { return "http: " + e.why }

func bad(format string, args ...any) error { return &httpError{400, fmt.Sprintf(format, args...)} }

// readHead reads up to the empty line, and returns what came after it.
func readHead(r io.Reader) (head, rest []byte, err error) {
	b := make([]byte, 0, 1024)
	for {
		if len(b) == cap(b) {
			if len(b) >= maxHead {
				return nil, nil, &httpError{431, fmt.Sprintf("the request has more than %d bytes", maxHead)}
			}
			b = append(make([]byte, 0, min(2*cap(b), maxHead)), b...)
		}
		n, err := r.Read(b[len(b):cap(b)])
		from := max(0, len(b)-3)
		b = b[:len(b)+n]
		if len(b) > 0 && (b[0] < 'A' || b[0] > 'z') { // TLS, SOCKS: no reason to wait for more
			return nil, nil, bad("this is no HTTP request")
		}
		if i := bytes.Index(b[from:], []byte("\r\n\r\n")); i >= 0 {
			end := from + i + 4
			return b[:end], b[end:], nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

// parseHead reads a request head that ends with an empty line: CONNECT
// authority HTTP/1.x and fields (RFC 9112 3, RFC 9110 9.3.6). A *httpError is to be answered.
func parseHead(head []byte) (Target, error) {
	text, ok := strings.CutSuffix(string(head), "\r\n\r\n")
	if !ok {
		return Target{}, bad("the request does not end with an empty line")
	}
	lines := strings.Split(text, "\r\n")
	for _, l := range lines {
		for _, c := range []byte(l) {
			if c < ' ' && c != '\t' || c == 0x7f {
				return Target{}, bad("there is a control character in the request")
			}
		}
	}
	parts := strings.Split(lines[0], " ")
	if len(parts) != 3 || !isToken(parts[0]) || parts[1] == "" {
		return Target{}, bad("a request begins with a method, a target and a version, with one space between them")
	}
	switch version := parts[2]; {
	case version == "HTTP/1.1", version == "HTTP/1.0":
	case strings.HasPrefix(version, "HTTP/"):
		return Target{}, &httpError{505, "only HTTP/1.1 and HTTP/1.0 are spoken here"}
	default:
		return Target{}, bad("%q is no version of HTTP", version)
	}
	if err := parseFields(lines[1:], parts[2] == "HTTP/1.1"); err != nil {
		return Target{}, err
	}
	if parts[0] != "CONNECT" {
		return Target{}, &httpError{405, "this proxy only does CONNECT: use it for https, or as a proxy for any connection"}
	}
	return parseAuthority(parts[1])
}

// parseFields checks the fields, of which none changes what is done.
func parseFields(lines []string, needsHost bool) error {
	hosts := 0
	for _, l := range lines {
		name, value, ok := strings.Cut(l, ":")
		if !ok || !isToken(name) {
			return bad("a field is a name, a colon and a value")
		}
		switch value = strings.Trim(value, " \t"); strings.ToLower(name) {
		case "host":
			hosts++
		case "transfer-encoding":
			return bad("CONNECT has no content")
		case "content-length":
			if value != "0" {
				return bad("CONNECT has no content")
			}
		}
	}
	if hosts > 1 || needsHost && hosts == 0 { // RFC 9112 3.2
		return bad("there must be one Host field")
	}
	return nil
}

// isToken is RFC 9110 5.6.2.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// parseAuthority reads host:port, both needed, without user information.
func parseAuthority(s string) (Target, error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return Target{}, bad("the target of CONNECT is a host, a colon and a port")
	}
	host, digits := s[:i], s[i+1:]
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 || strings.TrimLeft(digits, "0123456789") != "" {
		return Target{}, bad("the port in the target of CONNECT is a number from 1 to 65535")
	}
	t := Target{Port: uint16(port)}
	if inside, ok := strings.CutPrefix(host, "["); ok {
		inside, ok = strings.CutSuffix(inside, "]")
		a, err := netip.ParseAddr(inside)
		if !ok || err != nil || !a.Is6() || a.Zone() != "" {
			return Target{}, bad("in brackets is an IPv6 address")
		}
		t.Addr = a.Unmap()
		return t, nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if !a.Is4() {
			return Target{}, bad("an IPv6 address is put in brackets")
		}
		t.Addr = a
		return t, nil
	}
	if err := dial.CheckName(host); err != nil {
		return Target{}, bad("%v", err)
	}
	t.Host = host
	return t, nil
}
