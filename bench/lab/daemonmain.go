package lab

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"

	"github.com/bondd/bondd/endpoints"
	"github.com/bondd/bondd/endpoints/config"
)

// daemonMain is bondd as `bondd run -c FILE` runs it, inside a host of the lab.
func daemonMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() { // ends with the process
		untilEOF()
		os.Exit(0) // the host is gone, and the namespace with it
	}()
	stopProfile, err := profile()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stopProfile()
	cfg, err := config.Load(os.Getenv(envConfig))
	if err == nil {
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		err = endpoints.Run(ctx, cfg, log)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// envProfile carries the path of a CPU profile to be written; none when empty.
const envProfile = "BONDD_LAB_PROFILE"

// profile starts the CPU profile, if one is asked for. A daemon that is killed
// leaves none.
func profile() (stop func(), err error) {
	path := os.Getenv(envProfile)
	if path == "" {
		return func() {}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, err
	}
	return func() { pprof.StopCPUProfile(); f.Close() }, nil
}
