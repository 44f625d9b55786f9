package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"testing"

	"github.com/bondd/bondd/bench/lab"
)

// notAllowed is why no lab can be opened here; nil where one can.
var notAllowed error

// envLab makes the test binary be `bondd bench lab` with these arguments, with what main does about signals.
const envLab = "BONDD_BENCH_TEST_LAB"

// envLive makes the test binary be `bondd bench live` with these arguments.
const envLive = "BONDD_BENCH_TEST_LIVE"

func TestMain(m *testing.M) {
	lab.HostMain()
	if args := os.Getenv(envLive); args != "" { // inside a gateway of a lab
		os.Exit(LiveMain(context.Background(), strings.Fields(args)))
	}
	if args := os.Getenv(envLab); args != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		os.Exit(LabMain(ctx, strings.Fields(args)))
	}
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
