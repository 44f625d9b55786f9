package endpoints

import (
	"github.com/bondd/bondd/endpoints/dial"
	"github.com/bondd/bondd/tunnel"
)

// resetCodes are what an exit says for why a target was not reached.
var resetCodes = map[dial.Code]uint64{
	dial.Failed:      tunnel.ResetUnreachable,
	dial.Refused:     tunnel.ResetRefused,
	dial.Unreachable: tunnel.ResetUnreachable,
	dial.Timeout:     tunnel.ResetTimeout,
	dial.Forbidden:   tunnel.ResetForbidden,
	dial.NoSuchName:  tunnel.ResetNoName,
	dial.Busy:        tunnel.ResetLimit,
	dial.Canceled:    tunnel.ResetClosed,
}

// dialCode is what a gateway makes of a reset.
func dialCode(reset uint64) dial.Code {
	switch reset {
	case tunnel.ResetRefused:
		return dial.Refused
	case tunnel.ResetUnreachable:
		return dial.Unreachable
	case tunnel.ResetTimeout:
		return dial.Timeout
	case tunnel.ResetForbidden:
		return dial.Forbidden
	case tunnel.ResetLimit:
		return dial.Busy
	case tunnel.ResetNoName:
		return dial.NoSuchName
	}
	return dial.Failed
}

// resetReason is a reset code in words.
func resetReason(code uint64) string {
	switch code {
	case tunnel.ResetClosed:
		return "closed by the other end"
	case tunnel.ResetRefused:
		return "refused by the destination"
	case tunnel.ResetUnreachable:
		return "the exit finds no way to the destination"
	case tunnel.ResetTimeout:
		return "the destination did not answer the exit in time"
	case tunnel.ResetForbidden:
		return "the exit does not let this gateway go there"
	case tunnel.ResetLimit:
		return "too many connections"
	case tunnel.ResetNoName:
		return "the name does not exist"
	case tunnel.ResetAborted:
		return "the far connection was reset"
	case tunnel.ResetSession:
		return "the bond was down"
	}
	return "for a reason that is not known here"
}
