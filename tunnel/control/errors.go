package control

import "errors"

// What a hello fails for, beside the errors of the network and of TLS. They are
// found with errors.Is in what Client and Server return.
var (
	// ErrVersion says that the two ends have no version in common.
	ErrVersion = errors.New("no version in common")
	// ErrSuite says that the two ends have no cipher suite in common.
	ErrSuite = errors.New("no cipher suite in common")
	// ErrUnknownKey says that the exit does not know the key of the gateway.
	ErrUnknownKey = errors.New("unknown gateway key")
	// ErrWrongKey says that the exit has another key than the gateway expects.
	ErrWrongKey = errors.New("wrong exit key")
	// ErrMessage says that the peer sent something that is not a proper Offer or
	// Answer.
	ErrMessage = errors.New("malformed message")
	// ErrRefused says that the exit refused for a reason of its own.
	ErrRefused = errors.New("refused")
)

// The words an exit gives for the first three in Answer.Refusal.
const (
	refusalVersion = "version"
	refusalSuite   = "suite"
	refusalKey     = "key"
)

// RefusedError is the error of Client when the exit says no. It matches
// ErrRefused with errors.Is, and that of ErrVersion, ErrSuite and ErrUnknownKey
// which the exit named.
type RefusedError struct {
	Sentence string // of the exit, printable, for the user
	Refusal  string // as in Answer
}

// Error returns the sentence of the exit with an introduction.
func (e *RefusedError) Error() string { return "the exit refused: " + e.Sentence }

// Is reports whether the exit refused for the reason that target stands for.
func (e *RefusedError) Is(target error) bool {
	switch target {
	case ErrRefused:
		return true
	case ErrVersion:
		return e.Refusal == refusalVersion
	case ErrSuite:
		return e.Refusal == refusalSuite
	case ErrUnknownKey:
		return e.Refusal == refusalKey
	}
	return false
}
