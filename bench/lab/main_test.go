package lab

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// notAllowed is why no lab can be opened here; nil where one can.
var notAllowed error

func TestMain(m *testing.M) {
	HostMain()
	code, done, err := Enter()
	if done {
		os.Exit(code)
	}
	if err != nil && !errors.Is(err, ErrNotAllowed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	notAllowed = err
	if os.Getenv(envVanish) != "" {
		vanishMain()
	}
	os.Exit(m.Run())
}

// needLab skips a test where it cannot run or takes too long.
func needLab(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs in real time; skipped with -short")
	}
	if notAllowed != nil {
		t.Skip(notAllowed)
	}
}
