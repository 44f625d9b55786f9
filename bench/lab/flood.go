package lab

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/bondd/bondd/endpoints/udp"
)

// floodPort is where the server counts a flood.
const floodPort = trafficPort + 1

// FloodSpec asks for many small datagrams from the LAN to the server, at more packets per second than arrive: in
// batches, so that the sender costs little beside what is measured.
type FloodSpec struct {
	Size     int           `json:"size"` // IP bytes of a packet
	Rate     int           `json:"rate"` // packets per second offered
	Settle   time.Duration `json:"settle"`
	Duration time.Duration `json:"duration"` // what counts, after Settle
}

// FloodResult is what became of them. Received counts those that arrived within Duration.
type FloodResult struct {
	Sent     int     `json:"sent"`
	Received int     `json:"received"`
	Rate     float64 `json:"rate"` // packets per second received
}

// Flood sends them, and counts.
func (l *Lab) Flood(ctx context.Context, spec FloodSpec) (FloodResult, error) {
	var (
		wg      sync.WaitGroup
		res     FloodResult
		sendErr error
		sent    int
	)
	wg.Go(func() { sendErr = l.LAN.call(ctx, "flood.send", spec, &sent) })
	err := l.Server.call(ctx, "flood.count", spec, &res)
	wg.Wait()
	res.Sent = sent
	if err == nil {
		err = sendErr
	}
	return res, err
}

const floodBatch = 64

func floodSend(ctx context.Context, spec FloodSpec) (int, error) {
	sock, err := udp.Listen(ctx, udp.Options{Local: netip.AddrPortFrom(netip.IPv4Unspecified(), 0), NoOffload: true})
	if err != nil {
		return 0, err
	}
	defer sock.Close()
	sent := make(chan int, 1)
	go func() { // joined below
		runtime.LockOSThread() // never unlocked: the timer slack dies with the thread
		exactTimers()
		ds := make([]udp.Datagram, floodBatch)
		payload := make([]byte, max(0, spec.Size-overheadOf(Server4)))
		for i := range ds {
			ds[i] = udp.Datagram{Data: payload, Peer: netip.AddrPortFrom(Server4, floodPort)}
		}
		n := 0
		begin := Now()
		for end := begin + spec.Settle + spec.Duration; Now() < end && ctx.Err() == nil; {
			sleepUntil(begin + time.Duration(n)*time.Second/time.Duration(spec.Rate))
			if m, err := sock.WriteBatch(ds); err == nil || m > 0 {
				n += m
			} else {
				n++ // a full queue on the way is what a flood is for
			}
		}
		sent <- n
	}()
	return <-sent, nil
}

func floodCount(ctx context.Context, spec FloodSpec) (FloodResult, error) {
	sock, err := udp.Listen(ctx, udp.Options{Local: netip.AddrPortFrom(netip.IPv4Unspecified(), floodPort), NoOffload: true})
	if err != nil {
		return FloodResult{}, fmt.Errorf("count a flood: %w", err)
	}
	end := time.AfterFunc(spec.Settle+spec.Duration+time.Second, func() { sock.Close() })
	defer end.Stop()
	defer sock.Close()
	ds := make([]udp.Datagram, floodBatch)
	rooms := make([][64]byte, floodBatch)
	var from, to time.Duration
	var res FloodResult
	for {
		for i := range ds {
			ds[i].Data = rooms[i][:]
		}
		n, err := sock.ReadBatch(ds)
		now := Now()
		if from == 0 {
			from = now + spec.Settle
			to = from + spec.Duration
		}
		if err != nil || now >= to {
			break
		}
		if now >= from {
			res.Received += n
		}
	}
	res.Rate = float64(res.Received) / spec.Duration.Seconds()
	return res, nil
}
