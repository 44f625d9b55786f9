package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/bondd/bondd/bench/lab"
)

// memoryEvery is how often memory is looked at during a transfer. A look costs a call to each host.
const memoryEvery = 250 * time.Millisecond

// Memory is what both daemons have resident together, MB.
type Memory struct {
	Idle  float64 `json:"idle"`
	Early float64 `json:"early"` // the most in the first half of a transfer
	Late  float64 `json:"late"`  // in the second half: no more than that where the memory is steady
	After float64 `json:"after"`
}

func (m *Memory) show() string {
	return fmt.Sprintf("memory of both daemons: %.0f MB idle, at most %.0f in the first half of the transfer and %.0f in the second, %.0f after", m.Idle, m.Early, m.Late, m.After)
}

// memory of gateway and exit, MB.
func memory(ctx context.Context, l *lab.Lab) (float64, error) {
	sum := 0.0
	for _, h := range []*lab.Host{l.Gateway, l.Exit} {
		n, err := l.Memory(ctx, h)
		if err != nil {
			return 0, err
		}
		sum += float64(n) / 1e6
	}
	return sum, nil
}

// watchMemory looks at the memory during a transfer of duration d that begins now. stop joins it; its result is nil for a carrier that is not bondd.
func (b *bench) watchMemory(ctx context.Context, d time.Duration) (stop func() (*Memory, error)) {
	if !b.carrier.ours {
		return func() (*Memory, error) { return nil, nil }
	}
	var (
		m   Memory
		err error
	)
	end, ended := make(chan struct{}), make(chan struct{})
	m.Idle, err = memory(ctx, b.lab)
	begin := lab.Now()
	go func() { // ends with stop
		defer close(ended)
		tick := time.NewTicker(memoryEvery)
		defer tick.Stop()
		for err == nil {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			most := &m.Early
			if lab.Now()-begin > d/2 {
				most = &m.Late
			}
			var x float64
			if x, err = memory(ctx, b.lab); x > *most {
				*most = x
			}
		}
	}()
	return func() (*Memory, error) {
		close(end)
		<-ended
		if err == nil {
			m.After, err = memory(ctx, b.lab)
		}
		return &Memory{round(m.Idle, 1), round(m.Early, 1), round(m.Late, 1), round(m.After, 1)}, err
	}
}
