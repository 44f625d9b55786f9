package proxy

import (
	"context"
	"errors"
	"net"

	"github.com/bondd/bondd/endpoints/dial"
)

// socks serves one client.
func (s *Server) socks(ctx context.Context, c Conn) {
	ok, err := readGreeting(c)
	if err != nil {
		s.malformed.Add(1)
		return
	}
	if !ok {
		s.malformed.Add(1)
		refuse(c, []byte{socksVersion, methodUnacceptable})
		return
	}
	if _, err := c.Write([]byte{socksVersion, methodNone}); err != nil {
		return
	}
	command, t, err := readRequest(c)
	var wrong *socksError
	switch {
	case errors.As(err, &wrong):
		s.malformed.Add(1)
		refuse(c, socksReply(wrong.reply, Target{}))
	case err != nil:
		s.malformed.Add(1)
	case command == commandAssociate:
		s.associate(ctx, c, t)
	default:
		client, target, err := s.dial(ctx, c, nil, t)
		if err != nil {
			refuse(client, socksReply(replyFor(err), Target{}))
			return
		}
		s.relay(client, target, socksReply(replySucceeded, boundTo(target)))
	}
}

// boundTo is the local address of a connection to a target, where it has one.
func boundTo(c net.Conn) Target {
	if a, ok := c.LocalAddr().(*net.TCPAddr); ok {
		return dial.TargetOf(a.AddrPort())
	}
	return Target{}
}

// replyFor is the reply to a failed dial. There is none for a time-out: "TTL
// expired" is what other implementations use, and nothing else means it.
func replyFor(err error) byte {
	switch dial.CodeOf(err) {
	case dial.Refused:
		return replyRefused
	case dial.Unreachable, dial.NoSuchName:
		return replyHostUnreach
	case dial.Timeout:
		return replyTTLExpired
	case dial.Forbidden:
		return replyNotAllowed
	}
	return replyFailed
}
