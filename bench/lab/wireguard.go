package lab

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// wireguard-go in the place of bondd, between the same hosts over uplink 0, to be compared with. It is a peer of the
// lab alone: nothing but this file imports it.

const (
	wireGuardIf   = "wg0"
	wireGuardPort = 51820
	wireGuardMTU  = 1420 // what wg-quick sets over a 1500-byte line
)

// wireGuardConfig is what the process reads from its configuration file.
type wireGuardConfig struct {
	Settings string    `json:"settings"` // as the cross-platform interface of WireGuard takes them
	Steps    []netStep `json:"steps"`    // addresses and routes once the device is up
}

// StartWireGuard runs wireguard-go on gateway and exit and returns when an echo from the LAN to the server has come
// back through it. StopBond ends it, ProcessorTime counts it, as bondd.
func (l *Lab) StartWireGuard(ctx context.Context) error {
	gateway, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	exit, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	settings := func(own, peer *ecdh.PrivateKey, endpoint string) string {
		text := fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nallowed_ip=0.0.0.0/0\nallowed_ip=::/0\n",
			hex.EncodeToString(own.Bytes()), wireGuardPort, hex.EncodeToString(peer.PublicKey().Bytes()))
		if endpoint != "" {
			text += fmt.Sprintf("endpoint=%s:%d\n", endpoint, wireGuardPort)
		}
		return text
	}
	for _, side := range []struct {
		host *Host
		cfg  wireGuardConfig
	}{
		{l.Exit, wireGuardConfig{settings(exit, gateway, ""), []netStep{up(wireGuardIf), {Do: "route", Addr: "192.168.77.0/24", Link: wireGuardIf}}}},
		{l.Gateway, wireGuardConfig{settings(gateway, exit, GatewayAddr(0).Prev().String()),
			[]netStep{up(wireGuardIf), {Do: "route", Addr: "198.18.1.0/24", Link: wireGuardIf}}}},
	} {
		text, err := json.Marshal(side.cfg)
		if err != nil {
			return err
		}
		var file string
		if err := side.host.call(ctx, "file", fileArgs{"bondd-lab/peer.json", string(text)}, &file); err != nil {
			return err
		}
		args := daemonArgs{Role: rolePeer, Config: file}
		if l.cfg.Profiles != "" {
			args.Profile = filepath.Join(l.cfg.Profiles, side.host.name+".pprof")
		}
		if err := side.host.call(ctx, "daemon.start", args, nil); err != nil {
			return err
		}
	}
	if err := l.forwarding(ctx, true); err != nil {
		return err
	}
	return l.WaitBond(ctx, bondTimeout)
}

// wireGuardMain is wireguard-go inside a host of the lab.
func wireGuardMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() { // ends with the process
		untilEOF()
		os.Exit(0)
	}()
	stopProfile, err := profile()
	if err == nil {
		defer stopProfile()
		err = runWireGuard(ctx, os.Getenv(envConfig))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runWireGuard(ctx context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var cfg wireGuardConfig
	if err := json.Unmarshal(text, &cfg); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	dev, err := tun.CreateTUN(wireGuardIf, wireGuardMTU)
	if err != nil {
		return err
	}
	log := &device.Logger{Verbosef: device.DiscardLogf, Errorf: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }}
	wg := device.NewDevice(dev, conn.NewDefaultBind(), log)
	defer wg.Close()
	if err := wg.IpcSet(cfg.Settings); err != nil {
		return err
	}
	if err := wg.Up(); err != nil {
		return err
	}
	if err := applySteps(cfg.Steps); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		time.Sleep(10 * time.Millisecond) // its goroutines see the end of the device
	case <-wg.Wait():
	}
	return nil
}
