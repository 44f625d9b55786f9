package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Code says why a destination cannot be had. The values are sent between nodes:
// none is ever given another meaning.
type Code uint8

const (
	Failed      Code = 0 // anything that is none of the others
	Refused     Code = 1 // the destination answered, with a reset
	Unreachable Code = 2 // the network says that there is no way to it
	Timeout     Code = 3 // no answer in time
	Forbidden   Code = 4 // the policy does not let this gateway go there
	NoSuchName  Code = 5 // the name does not exist or has no address
	Busy        Code = 6 // a limit is reached; later it may work
	Canceled    Code = 7 // whoever asked no longer wants it

	// Codes is the number of codes.
	Codes = 8
)

var codeNames = [Codes]string{
	"failed", "refused by the destination", "unreachable", "no answer in time", "forbidden",
	"no such name", "a limit is reached", "canceled",
}

func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("failed with code %d", uint8(c))
}

// Error is the error of every function that opens a connection.
type Error struct {
	Code   Code
	Target string // what was to be reached, host:port
	Reason string // one sentence more than the code says; may be empty
	Err    error  // cause; may be nil
}

func (e *Error) Error() string {
	s := fmt.Sprintf("connect to %s: %s", e.Target, e.Code)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Err != nil {
		s += fmt.Sprintf(" (%v)", e.Err)
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// CodeOf classifies any error: an *Error by its Code, others by what
// the system, the resolver or a context says. nil is Failed too: ask only about errors.
func CodeOf(err error) Code {
	var own *Error
	if errors.As(err, &own) {
		return own.Code
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return NoSuchName
	}
	if errors.Is(err, context.Canceled) {
		return Canceled
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if c := codeOfErrno(errno); c != Failed {
			return c
		}
	}
	var ne net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout() {
		return Timeout
	}
	return Failed
}

func codeOfErrno(e syscall.Errno) Code {
	switch e {
	case syscall.ECONNREFUSED, syscall.ECONNRESET:
		return Refused
	// EACCES is what ICMPv6 "administratively prohibited" becomes, and a route of
	// type prohibit; EPERM comes from this machine's own firewall; the last two
	// mean that there is no address of our own to go there from.
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN,
		syscall.EACCES, syscall.EPERM, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT:
		return Unreachable
	case syscall.ETIMEDOUT:
		return Timeout
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
		return Busy
	}
	return Failed
}

// rank orders codes by how much they tell: of several failures the best is
// reported. A refusal means that the destination lives.
var rank = [Codes]int{Refused: 7, Timeout: 6, Unreachable: 5, Busy: 4, Forbidden: 3, NoSuchName: 2, Failed: 1, Canceled: 0}

// better returns the error that tells more, a if they tell the same.
func better(a, b error) error {
	if a == nil || b != nil && rank[CodeOf(b)%Codes] > rank[CodeOf(a)%Codes] {
		return b
	}
	return a
}
