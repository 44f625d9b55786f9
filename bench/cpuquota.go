package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// quotaPeriod in microseconds: short, so that a bound is felt as a slow processor and not as pauses.
const quotaPeriod = 10_000

// bindProcessor bounds this process to so many processors, a fraction of one included, and says how: by a control group where that is
// allowed, else by the number of threads that run. undo restores what was.
func bindProcessor(quota float64) (how string, undo func()) {
	var why error
	for _, try := range []func(float64) (string, func(), error){groupV2, groupV1} {
		how, undo, err := try(quota)
		if err == nil {
			return how, undo
		}
		why = err
	}
	n := max(1, int(quota+0.5))
	was := runtime.GOMAXPROCS(n)
	return fmt.Sprintf("GOMAXPROCS=%d, no finer bound is allowed here (%v)", n, why), func() { runtime.GOMAXPROCS(was) }
}

// groupV2 makes a group below our own in the unified hierarchy.
func groupV2(quota float64) (string, func(), error) {
	own, err := ownGroup("")
	if err != nil {
		return "", nil, err
	}
	return joinGroup(filepath.Join("/sys/fs/cgroup", own), "cgroup v2 cpu.max", [][2]string{
		{"cpu.max", fmt.Sprintf("%d %d", int(quota*quotaPeriod), quotaPeriod)},
	})
}

// groupV1 is the same in the hierarchy of the cpu controller of older systems.
func groupV1(quota float64) (string, func(), error) {
	own, err := ownGroup("cpu")
	if err != nil {
		return "", nil, err
	}
	return joinGroup(filepath.Join("/sys/fs/cgroup/cpu", own), "cgroup v1 cpu.cfs_quota_us", [][2]string{
		{"cpu.cfs_period_us", strconv.Itoa(quotaPeriod)},
		{"cpu.cfs_quota_us", strconv.Itoa(int(quota * quotaPeriod))},
	})
}

// ownGroup is the path of our group in the hierarchy of a controller; "" is the unified one.
func ownGroup(controller string) (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) { // cgroups(7): number:controllers:path
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && (parts[1] == controller || controller != "" && strings.Contains(","+parts[1]+",", ","+controller+",")) {
			return parts[2], nil
		}
	}
	return "", fmt.Errorf("no control group with a processor controller")
}

// joinGroup makes a group below parent with these settings and moves us into it.
func joinGroup(parent, what string, settings [][2]string) (string, func(), error) {
	procs := filepath.Join(parent, "cgroup.procs")
	if _, err := os.Stat(procs); err != nil {
		return "", nil, err // no such hierarchy: it may be mounted elsewhere, or not at all
	}
	dir := filepath.Join(parent, fmt.Sprintf("bondd-bench-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", nil, err
	}
	pid := []byte(strconv.Itoa(os.Getpid()))
	undo := func() {
		setGroup(procs, pid)
		os.Remove(dir)
	}
	for _, s := range settings {
		if err := setGroup(filepath.Join(dir, s[0]), []byte(s[1])); err != nil {
			undo()
			return "", nil, err
		}
	}
	if err := setGroup(filepath.Join(dir, "cgroup.procs"), pid); err != nil {
		undo()
		return "", nil, err
	}
	return what, undo, nil
}

// setGroup writes a file that the kernel has made.
func setGroup(path string, value []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(value)
	return errors.Join(err, f.Close())
}
