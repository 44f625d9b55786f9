package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bondd/bondd/bench/lab"
	"github.com/bondd/bondd/bench/link"
)

func TestAbsentPeersAreNamed(t *testing.T) {
	old := peers
	t.Cleanup(func() { peers = old })
	peers = []peer{{name: "here", needs: []string{"go"}}, {name: "away", needs: []string{"go", "no-such-program-of-bondd"}},
		{name: "old", lacks: func() string { return "the kernel is too old" }}}
	var errs strings.Builder
	got := presentPeers([]string{"here", "old", "away"}, &errs)
	if !slices.Equal(got, []string{"here"}) || errs.String() != "away is absent: no-such-program-of-bondd not installed\nold is absent: the kernel is too old\n" {
		t.Errorf("%v, %q", got, errs.String())
	}
	if got := presentPeers(nil, &errs); len(got) > 0 {
		t.Errorf("nothing asked for: %v", got)
	}
}

// TestPeersAreMeasuredAsFarAsTheyGo: what carries TCP alone is asked for nothing
// else, and nothing is broken while a peer is measured that may not survive it.
func TestPeersAreMeasuredAsFarAsTheyGo(t *testing.T) {
	p := plan{directions: []string{"down"}, flows: []int{1}, faults: []string{"cut", "unplug"}, idlePings: 10}
	for service, want := range map[string]string{"plain": "start idle transfer", "openvpn": "start idle transfer", "wireguard-go": "start idle transfer",
		"kernel": "start transfer cut unplug", "seedstack": "start transfer cut unplug"} {
		var names []string
		for _, s := range p.bench(Sets()[0], service, false).steps() {
			names = append(names, s.name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: steps %s, want %s", service, got, want)
		}
	}
}

// TestPeersCarry sends TCP through every peer that can be had here, for a second over two fast lines. It goes through the peer and not around it:
// what bonds uses both lines and what does not uses one, programs spend processor time on it, and once they have ended nothing comes through.
func TestPeersCarry(t *testing.T) {
	needLab(t)
	fast := link.Config{Rate: 60e6, Delay: 3 * time.Millisecond, Queue: 50 * time.Millisecond}
	set := Set{Name: "fast", Uplinks: []Uplink{{"line0", fast}, {"line1", fast}}}
	one, both := 1, 2 // lines it uses
	lines := map[string]int{"plain": one, "kernel": both, "kernel-bbr": both, "openvpn": one, "wireguard-go": one, "seedstack": both}
	for _, peer := range peers {
		t.Run(peer.name, func(t *testing.T) {
			if why := peer.absent(); why != "" {
				t.Skip(why)
			}
			ctx := t.Context()
			p := plan{services: []string{peer.name}, directions: []string{"down"}, flows: []int{1}, idlePings: 5, duration: time.Second, seed: 1, progress: t.Output()}
			b := p.bench(set, peer.name, false)
			r := &b.results[0]
			r.Uplinks = []UplinkResult{{Name: "line0", Alone: 57}, {Name: "line1", Alone: 58}}
			var cfg lab.Config
			for _, u := range set.Uplinks {
				cfg.Uplinks = append(cfg.Uplinks, lab.Uplink(u))
			}
			l, err := lab.Open(ctx, cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(l.Close)
			b.lab = l
			if err := b.start(ctx); err != nil {
				t.Fatal(l.Explain(err))
			}
			if !b.carrier.onlyTCP {
				if err := b.idle(ctx); err != nil {
					t.Fatal(l.Explain(err))
				}
				if r.Idle == nil || r.SparseIdle == nil || r.Idle.P50 < 6 {
					t.Errorf("echoes %+v and datagrams %+v over lines of 6 ms", r.Idle, r.SparseIdle)
				}
			}
			if err := b.bond(ctx, r); err != nil {
				t.Fatal(l.Explain(err))
			}
			if *r.Bond <= 0 {
				t.Fatal("nothing has arrived")
			}
			used := 0
			for _, u := range r.Uplinks {
				if *u.Share > 0.05 {
					used++
				}
			}
			if used != lines[peer.name] {
				t.Errorf("it used %d lines, of %+v", used, r.Uplinks)
			}
			if len(peer.needs) == 0 && peer.name != "wireguard-go" {
				return // it is the kernel: there is no process to count or to end
			}
			if r.CPU == nil || *r.CPU <= 0 {
				t.Error("its programs have spent no time")
			}
			if err := b.carrier.stop(ctx, l); err != nil {
				t.Fatal(err)
			}
			if res, err := l.TCP(ctx, lab.TCPSpec{Source: lab.LAN4, Flows: 1, Duration: 500 * time.Millisecond}); err == nil && res.Between(0, time.Second) > 0 {
				t.Errorf("%d bytes came around the peer, which has ended", res.Between(0, time.Second))
			}
		})
	}
}

// TestLabEndsWithItsPeers interrupts a bench in the middle, and another dies of SIGKILL: neither leaves a process behind, peers' programs included, and
// the first reports what it has measured.
func TestLabEndsWithItsPeers(t *testing.T) {
	needLab(t)
	with := presentPeers(peerNames(), t.Output())
	slices.Reverse(with) // those with programs first
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
			cmd.Env = append(os.Environ(), envLab+"=--set equal --direction down --faults cut --settle 0s --duration 1s --json --service none --with "+with[0])
			var out bytes.Buffer
			cmd.Stdout = &out
			progress, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(progress)
			for lines.Scan() {
				t.Log(lines.Text())
				if strings.Contains(lines.Text(), "of the limit of") { // the transfer is done; the cut comes
					break
				}
			}
			started := descendants(t, cmd.Process.Pid)
			if len(started) < 6 {
				t.Errorf("the lab has %d processes", len(started))
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			rest, _ := io.ReadAll(progress)
			err = cmd.Wait()
			t.Logf("%s%v", rest, err)
			for end := time.Now().Add(20 * time.Second); ; <-time.After(10 * time.Millisecond) {
				left := slices.DeleteFunc(slices.Clone(started), func(pid int) bool { return !alive(pid) })
				if len(left) == 0 {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("processes %v have outlived the bench", left)
				}
			}
			if sig == syscall.SIGKILL {
				return
			}
			var rep Report
			if e := json.Unmarshal(out.Bytes(), &rep); e != nil || len(rep.Results) != 1 || rep.Results[0].Bond == nil || rep.Results[0].Best == nil {
				t.Errorf("%v in the report of an interrupted run: %s", e, out.String())
			}
			if cmd.ProcessState.ExitCode() != exitFailure || !strings.Contains(string(rest), "interrupted") {
				t.Errorf("it ended with %v: %s", err, rest)
			}
		})
	}
}

// descendants are the processes below one.
func descendants(t *testing.T, root int) (out []int) {
	t.Helper()
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	parent := map[int]int{}
	for _, d := range dirs {
		if pid, err := strconv.Atoi(d.Name()); err == nil {
			if fields := procFields(pid); len(fields) > 1 {
				parent[pid], _ = strconv.Atoi(fields[1])
			}
		}
	}
	for pid := range parent {
		for at, hops := parent[pid], 0; at > 1 && hops < 64; at, hops = parent[at], hops+1 {
			if at == root {
				out = append(out, pid)
				break
			}
		}
	}
	return out
}

// procFields are those of /proc/PID/stat from the state on; none when there is no such process.
func procFields(pid int) []string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
}

// alive reports whether a process exists and does not merely wait to be reaped.
func alive(pid int) bool {
	fields := procFields(pid)
	return len(fields) > 0 && fields[0] != "Z" && fields[0] != "X"
}
