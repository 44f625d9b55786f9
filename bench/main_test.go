package bench

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/bondd/bondd/bench/lab"
)

// notAllowed is why no lab can be opened here; nil where one can.
var notAllowed error

func TestMain(m *testing.M) {
	lab.HostMain()
	code, done, err := lab.Enter()
	if done {
		os.Exit(code)
	}
	if err != nil && !errors.Is(err, lab.ErrNotAllowed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	notAllowed = err
	os.Exit(m.Run())
}
