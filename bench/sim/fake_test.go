package sim

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/bondd/bondd/tunnel"
	"github.com/bondd/bondd/tunnel/buf"
)

// fake is the least there is of a bond: what comes in at the top goes out on
// the first path at once, and the other way round. It can be made to misbehave.
type fake struct {
	to     []tunnel.Endpoint
	known  bool // the exit knows where to send
	down   []*buf.Buf
	up     []*buf.Buf
	n      int
	bad    string
	stuck  bool
	remote tunnel.Endpoint
}

func (f *fake) AddPath(_ time.Duration, s tunnel.PathSpec) (tunnel.PathID, error) {
	f.to, f.remote, f.known = append(f.to, s.To), s.To, true
	return tunnel.PathID(len(f.to) - 1), nil
}
func (f *fake) RemovePath(time.Duration, tunnel.PathID)                     {}
func (f *fake) MovePath(time.Duration, tunnel.PathID, tunnel.Endpoint, int) {}
func (f *fake) PathFailed(time.Duration, tunnel.PathID)                     {}
func (f *fake) PushPackets(_ time.Duration, ps []*buf.Buf)                  { f.down = append(f.down, ps...) }
func (f *fake) Advance(time.Duration)                                       {}
func (f *fake) Event() (tunnel.Event, bool)                                 { return tunnel.Event{}, false }
func (f *fake) InnerMTU() int                                               { return 1472 }
func (f *fake) Stats(time.Duration) tunnel.Stats                            { return tunnel.Stats{} }

func (f *fake) Deadline() time.Duration {
	if f.stuck && f.n > 100 {
		return 0
	}
	return Never
}

func (f *fake) PushDatagrams(_ time.Duration, as []tunnel.Arrival) {
	for _, a := range as {
		f.remote, f.known = a.From, true
		f.n++
		if f.n == 100 {
			switch f.bad {
			case "twice":
				b := buf.Get()
				b.Append(a.Buf.Bytes())
				f.up = append(f.up, b)
			case "changed":
				a.Buf.Bytes()[a.Buf.Len()-1] ^= 1
			case "swallow":
				a.Buf.Release()
				continue
			}
		}
		f.up = append(f.up, a.Buf)
	}
}

func (f *fake) PullDatagrams(_ time.Duration, out []tunnel.Out) int {
	if !f.known {
		return 0
	}
	n := min(len(out), len(f.down))
	for i, b := range f.down[:n] {
		out[i] = tunnel.Out{Buf: b, To: f.remote}
	}
	f.down = append(f.down[:0], f.down[n:]...)
	return n
}

func (f *fake) PullPackets(_ time.Duration, out []*buf.Buf) int {
	n := copy(out, f.up)
	f.up = append(f.up[:0], f.up[n:]...)
	return n
}

// fakes makes a scenario with fakes at both ends over line V. Both misbehave
// in the same way.
func fakes(bad string, flows ...Flow) Scenario {
	return Scenario{
		Seed: 1, Uplinks: []Uplink{Symmetric("V", lines["V"])}, Flows: flows,
		Sessions: func(tunnel.Config, *rand.Rand) (Session, error) {
			return &fake{bad: bad, stuck: bad == "stuck"}, nil
		},
	}
}

// The driver itself costs nothing: over a bond that adds no byte but the outer
// headers, TCP gets what is left of the line.
func TestDriverIsTransparent(t *testing.T) {
	for _, down := range []bool{true, false} {
		r, err := New(fakes("", Flow{Kind: TCP, Down: down, Start: 10 * ms}, Flow{Kind: Ping}))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Advance(6 * time.Second); err != nil {
			t.Fatal(err)
		}
		want := 50 * 1420. / 1500
		if got := r.Flows[0].Mbps(2*time.Second, 5*time.Second); got < want*.985 || got > want*1.001 {
			t.Errorf("down %v: %.2f Mb/s, want %.2f", down, got, want)
		}
		idle, lost := r.Flows[1].Delays(0, 10*ms)
		if len(idle) != 1 || lost != 0 || idle[0] < 16*ms || idle[0] > 17*ms {
			t.Errorf("the first echo took %v (%d lost), want 16 ms", idle, lost)
		}
		loaded, _ := r.Flows[1].Delays(3*time.Second, 5*time.Second)
		if q := Quantile(loaded, .5); q < 40*ms {
			t.Errorf("echoes beside a full drop-tail queue took only %v", q)
		}
	}
}

// Every kind of misbehaviour must be noticed, or the checks check nothing.
func TestInvariantsBite(t *testing.T) {
	for bad, want := range map[string]string{
		"twice":   "twice",
		"changed": "never sent like this",
		"stuck":   "deadline",
		"swallow": "",
	} {
		r, err := New(fakes(bad, Flow{Kind: TCP, Start: 10 * ms}))
		if err != nil {
			t.Fatal(err)
		}
		err = r.Advance(2 * time.Second)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want one with %q", bad, err, want)
		}
	}
	sc := fakes("", Flow{Kind: TCP})
	mine := errors.New("not in my scenario")
	sc.Check = func(r *Run) error {
		if r.Now() > 500*ms {
			return mine
		}
		return nil
	}
	r, err := New(sc)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Advance(2 * time.Second); !errors.Is(err, mine) || !errors.Is(err, ErrInvariant) || r.Now() > 700*ms {
		t.Errorf("error %v at %v", err, r.Now())
	}
}

// A packet that has become too long is answered as the kernel does, and the
// connection goes on with smaller ones.
type shrinking struct {
	fake
	sim *Run
}

func (s *shrinking) InnerMTU() int {
	if s.sim != nil && s.sim.Now() > time.Second {
		return 1280
	}
	return 1472
}

func TestTCPFollowsTheMTU(t *testing.T) {
	sc := fakes("", Flow{Kind: TCP}, Flow{Kind: TCP, Down: true})
	var both []*shrinking
	sc.Sessions = func(tunnel.Config, *rand.Rand) (Session, error) {
		s := &shrinking{}
		both = append(both, s)
		return s, nil
	}
	r, err := New(sc)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range both {
		s.sim = r
	}
	if err := r.Advance(6 * time.Second); err != nil {
		t.Fatal(err)
	}
	for i, f := range r.Flows {
		if got := f.Mbps(3*time.Second, 6*time.Second); got < 30 { // its ACKs queue behind the other's data
			t.Errorf("flow %d: %.1f Mb/s after the MTU fell", i, got)
		}
	}
}
