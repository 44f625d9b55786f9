package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/bondd/bondd/endpoints/dial"
)

// http serves one client: one request, since what follows a CONNECT is no HTTP.
func (s *Server) http(ctx context.Context, c Conn) {
	head, rest, err := readHead(c)
	var t Target
	if err == nil {
		t, err = parseHead(head)
	}
	var wrong *httpError
	if errors.As(err, &wrong) {
		s.malformed.Add(1)
		refuse(c, httpAnswer(wrong.status, "", wrong.why))
		return
	}
	if err != nil {
		s.malformed.Add(1)
		return
	}
	client, target, err := s.dial(ctx, c, rest, t)
	if err != nil {
		status, reason := statusFor(err)
		refuse(client, httpAnswer(status, reason, err.Error()))
		return
	}
	// No field about content: RFC 9110 9.3.6 forbids it.
	s.relay(client, target, []byte("HTTP/1.1 200 Connection established\r\n\r\n"))
}

// statusFor is the status of a failed dial and its type of RFC 9209 2.3.
func statusFor(err error) (status int, reason string) {
	switch dial.CodeOf(err) {
	case dial.Refused:
		return http.StatusBadGateway, "connection_refused"
	case dial.Unreachable:
		return http.StatusBadGateway, "destination_ip_unroutable"
	case dial.Timeout:
		return http.StatusGatewayTimeout, "connection_timeout"
	case dial.Forbidden:
		return http.StatusForbidden, "destination_ip_prohibited"
	case dial.NoSuchName:
		return http.StatusBadGateway, "dns_error"
	case dial.Busy:
		return http.StatusServiceUnavailable, "connection_limit_reached"
	}
	return http.StatusBadGateway, "proxy_internal_error"
}

// httpAnswer is the answer to a request that is not served; reason may be empty.
func httpAnswer(status int, reason, why string) []byte {
	var b strings.Builder
	why += "\n"
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	if reason != "" {
		fmt.Fprintf(&b, "Proxy-Status: bondd; error=%s\r\n", reason)
	}
	switch status {
	case http.StatusMethodNotAllowed:
		b.WriteString("Allow: CONNECT\r\n")
	case http.StatusServiceUnavailable:
		b.WriteString("Retry-After: 1\r\n")
	}
	fmt.Fprintf(&b, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(why), why)
	return []byte(b.String())
}
