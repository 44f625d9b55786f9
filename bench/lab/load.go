package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Load is what this machine did while something was measured. Shares are of all
// processors, 0 to 1.
type Load struct {
	Lab      float64  // used by the lab: hosts, daemons, this process; without the next two
	Emulator float64  // used by the emulator
	Spinner  float64  // was idle, in truth: the spinner had it
	Others   float64  // used by anything else, or taken away by a hypervisor
	Steal    float64  // the part of Others that the hypervisor admits
	Late     Lateness // of the emulator's deliveries
}

const (
	// LateTrust is the lateness of the emulator at the 99th percentile beyond
	// which its lines are not what they are said to be: a tenth of the shortest
	// delay in any set.
	LateTrust = 800 * time.Microsecond
	// OthersTrust is the share of the processors that others may have: the lab
	// goes first by its priority, but not at once (seen with compilers beside
	// it, which take 0.4 and more: rates fall by a third).
	OthersTrust = 0.2
)

// Spoiled says why what was measured meanwhile is about the machine and not
// about bondd; "" when it can be trusted.
func (l Load) Spoiled() string {
	var why []string
	if l.Late.P99 > LateTrust {
		why = append(why, fmt.Sprintf("the emulator was late by %.1f ms (p99 of %d packets), more than %.1f", l.Late.P99.Seconds()*1e3, l.Late.Packets, LateTrust.Seconds()*1e3))
	}
	if l.Others > OthersTrust {
		why = append(why, fmt.Sprintf("others used %.0f %% of the processors (%.0f %% stolen by the hypervisor), more than %.0f", l.Others*100, l.Steal*100, OthersTrust*100))
	}
	return strings.Join(why, "; ")
}

// Meter measures the load from its making on. Meters of one lab share the
// emulator's count of lateness: the next one begins it anew.
type Meter struct {
	lab   *Lab
	begin usage
}

// Meter starts a measurement of the load.
func (l *Lab) Meter(ctx context.Context) (*Meter, error) {
	if _, err := l.Lateness(ctx); err != nil { // only what follows counts
		return nil, err
	}
	u, err := l.usage()
	return &Meter{l, u}, err
}

// Load is what has happened since the meter was made.
func (m *Meter) Load(ctx context.Context) (Load, error) {
	late, err := m.lab.Lateness(ctx)
	if err != nil {
		return Load{}, err
	}
	end, err := m.lab.usage()
	if err != nil {
		return Load{}, err
	}
	return load(m.begin, end, late), nil
}

// load is the difference of two readings.
func load(a, b usage, late Lateness) Load {
	all := float64(b.total - a.total)
	if all <= 0 {
		return Load{Late: late}
	}
	share := func(a, b uint64) float64 { return max(0, float64(b)-float64(a)) / all }
	l := Load{Emulator: share(a.emulator, b.emulator), Spinner: share(a.spinner, b.spinner), Steal: share(a.steal, b.steal), Late: late}
	ours := share(a.tree, b.tree)
	l.Lab = max(0, ours-l.Emulator-l.Spinner)
	// What is neither ours nor idle. Ticks are counted one way and processes
	// another (proc(5)), so a hundredth or two means nothing.
	l.Others = max(0, 1-ours-share(a.idle, b.idle))
	return l
}

// usage is one reading of processor times, in ticks of 10 ms.
type usage struct {
	total, idle, steal      uint64 // of the machine, all processors
	tree, emulator, spinner uint64 // of this process and its descendants; of two of them
}

func (l *Lab) usage() (usage, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return usage{}, err
	}
	u, err := machineUsage(stat)
	if err != nil {
		return usage{}, err
	}
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return usage{}, err
	}
	all := map[int]procStat{}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if p, err := readProcStat(pid); err == nil { // it may have ended
			all[pid] = p
		}
	}
	self := os.Getpid()
	for pid, p := range all {
		// Up to this process, or to the top.
		for at, hops := pid, 0; at > 0 && hops < 64; at, hops = all[at].parent, hops+1 {
			if at == self {
				u.tree += p.ticks + p.reaped
				break
			}
		}
	}
	u.emulator, u.spinner = all[l.emulator.cmd.Process.Pid].ticks, all[l.spinner.Process.Pid].ticks
	return u, nil
}

// machineUsage reads the first line of /proc/stat: user, nice, system, idle,
// iowait, irq, softirq, steal; what follows is counted in user already.
func machineUsage(stat []byte) (usage, error) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) < 9 || fields[0] != "cpu" {
		return usage{}, errors.New("unexpected form of /proc/stat")
	}
	var u usage
	for i, f := range fields[1:9] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return usage{}, err
		}
		u.total += n
		switch i {
		case 3, 4:
			u.idle += n
		case 7:
			u.steal = n
		}
	}
	return u, nil
}

// procStat is what /proc/PID/stat says about a process: its parent, user and
// system time of its threads, and of children it has waited for, in ticks of
// 10 ms (proc(5); USER_HZ is 100 everywhere).
type procStat struct {
	parent        int
	ticks, reaped uint64
}

func readProcStat(pid int) (procStat, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	// The name may hold spaces and parentheses; the third field, the state, is
	// the first behind it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 15 {
		return procStat{}, errors.New("unexpected form of /proc/PID/stat")
	}
	var n [5]uint64
	for i, f := range [][]byte{fields[1], fields[11], fields[12], fields[13], fields[14]} {
		if n[i], err = strconv.ParseUint(string(f), 10, 64); err != nil {
			return procStat{}, err
		}
	}
	return procStat{parent: int(n[0]), ticks: n[1] + n[2], reaped: n[3] + n[4]}, nil
}

// Processors is what the processors of this machine have done since it started,
// in ticks of 10 ms: busy, and in all.
func Processors() (busy, total uint64, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	u, err := machineUsage(stat)
	return u.total - u.idle, u.total, err
}
