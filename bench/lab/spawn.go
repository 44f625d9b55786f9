package lab

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// spawner starts child processes from one thread that lives as long as it is
// open: the kernel's "kill my children when I die" follows the thread, not
// the process, and the runtime ends threads as it likes.
type spawner struct{ work chan func() }

// newSpawner starts the thread; close ends it, and with it every child.
func newSpawner() *spawner {
	s := &spawner{work: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		// What else this machine computes should not show in the figures. The
		// children inherit it; where it is not allowed, it is not needed to work.
		unix.Setpriority(unix.PRIO_PROCESS, 0, labNice)
		for f := range s.work {
			f()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	done := make(chan error)
	s.work <- func() { done <- cmd.Start() }
	return <-done
}

func (s *spawner) close() { close(s.work) }

// labNice is the priority of all processes of a lab, ahead of ordinary ones.
const labNice = -10

// envRole names what a re-executed process is to be; envAllowed says that the
// process already runs inside a user namespace made for it.
const (
	envRole    = "BONDD_LAB_HOST"
	envAllowed = "BONDD_LAB_ALLOWED"
)

// Roles of a re-executed process.
const (
	roleHost   = "host"   // a host of the lab: serves operations
	roleDaemon = "daemon" // bondd itself, inside a host
	rolePeer   = "peer"   // wireguard-go, inside a host, to be compared with
	roleSpin   = "spin"   // keeps the processors awake
	roleLinks  = "links"  // the emulator; starts itself again as roleUrgent
	roleUrgent = "urgent" // the emulator, with precedence over ordinary processes
	roleProbe  = "probe"  // tries what a lab needs, and ends
)

// self prepares this executable to run again in a role. Its own process group
// keeps a Ctrl-C at the terminal away from it; the parent decides.
func self(role string, cloneflags uintptr) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = "bondd-lab-" + role
	cmd.Env = append(os.Environ(), envRole+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: cloneflags,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true,
	}
	return cmd
}
