package uplink

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	stateDir    = "/run/bondd"
	stateFormat = 1
)

// state is what cannot be read back from the kernel: how things were before.
// The file is locked while its owner lives; the lock dies with the process,
// the file does not, and so a successor knows what to restore.
type state struct {
	Format int    `json:"format"`
	Boot   string `json:"boot"`    // values of an earlier boot mean nothing
	NetNS  string `json:"netns"`   // nor do those of another namespace
	TUN    string `json:"tun"`     //
	PID    int    `json:"pid"`     // for the message to the second who comes
	Warn   string `json:"comment"` //

	Sysctls []savedSysctl `json:"sysctls,omitempty"`
	Device  deviceState   `json:"device,omitzero"`
}

// deviceState is what we did to the TUN; void when the device is another one.
type deviceState struct {
	Ifindex int            `json:"ifindex"`
	Addrs   []netip.Prefix `json:"addresses,omitempty"` // put there by us
	Up      bool           `json:"up,omitempty"`        // brought up by us
	MTU     int            `json:"mtu,omitempty"`       // before ours; 0: not changed
}

// touched tells whether there is anything to undo.
func (d deviceState) touched() bool { return len(d.Addrs) > 0 || d.Up || d.MTU != 0 }

func (st *state) find(key string) int {
	return slices.IndexFunc(st.Sysctls, func(s savedSysctl) bool { return s.Key == key })
}

// stateFile is the open, locked file.
type stateFile struct {
	path string
	f    *os.File
}

// defaultState returns the path for this TUN in this namespace: in dir, which is
// made, or if that cannot be written to, in one of this user below tmp.
func defaultState(dir, tmp, tun, netns string) (string, error) {
	name := tun + "-" + netns + ".json"
	err := os.MkdirAll(dir, 0o755)
	if err == nil && unix.Access(dir, unix.W_OK) == nil {
		return filepath.Join(dir, name), nil
	}
	// Root of a user namespace only: nothing is lost with that directory, for the
	// namespace whose values it keeps does not outlive a boot either.
	dir = filepath.Join(tmp, "bondd-"+strconv.Itoa(os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("make a directory for the state file: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return "", fmt.Errorf("directory for the state file: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Getuid() || st.Mode&0o022 != 0 {
		return "", fmt.Errorf("%s is not a directory of this user alone; remove it or name a state file: %w", dir, os.ErrPermission)
	}
	return filepath.Join(dir, name), nil
}

// openState opens and locks the file, and reads what a predecessor left in it.
func openState(path, tun, netns string) (*stateFile, *state, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("open the state file: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			old, _ := readState(f)
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, nil, fmt.Errorf("%w: process %d keeps device %s (state file %s)", ErrBusy, old.PID, old.TUN, path)
			}
			return nil, nil, fmt.Errorf("lock the state file %s: %w", path, err)
		}
		// The last owner may have removed the file between our open and our lock.
		if !sameFile(f, path) {
			f.Close()
			continue
		}
		st, err := readState(f)
		boot := bootID()
		if err != nil || st.Format != stateFormat || st.Boot != boot || st.NetNS != netns {
			st = state{} // nothing in it belongs to here and now
		}
		st.Format, st.Boot, st.NetNS, st.TUN, st.PID = stateFormat, boot, netns, tun, os.Getpid()
		st.Warn = "values that bondd restores when it ends; kept while it runs"
		return &stateFile{path, f}, &st, nil
	}
}

// readState reads the first JSON value; bytes behind it are left from a longer one.
func readState(f *os.File) (state, error) {
	var st state
	err := json.NewDecoder(io.NewSectionReader(f, 0, 1<<20)).Decode(&st)
	return st, err
}

// write replaces the content. The value is written before the file is cut, so
// that a kill in between leaves a whole value.
func (s *stateFile) write(st *state) error {
	b, err := json.MarshalIndent(st, "", "  ")
	if err == nil {
		b = append(b, '\n')
		if _, err = s.f.WriteAt(b, 0); err == nil {
			err = s.f.Truncate(int64(len(b)))
		}
	}
	if err != nil {
		return fmt.Errorf("write the state file %s: %w", s.path, err)
	}
	return nil
}

// release lets go of the file and removes it when nothing is left to restore.
func (s *stateFile) release(remove bool) error {
	var err error
	if remove && sameFile(s.f, s.path) {
		err = os.Remove(s.path) // still locked: nobody else has it
	}
	if cerr := s.f.Close(); err == nil {
		err = cerr
	}
	return err
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// namespace names the network namespace of the calling thread: by its cookie,
// which is never given twice in a boot; before Linux 5.14 by its inode number.
func namespace() (string, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err == nil {
		cookie, cerr := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		unix.Close(fd)
		if cerr == nil {
			return strconv.FormatUint(cookie, 10), nil
		}
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return "", fmt.Errorf("tell which network namespace this is: %w", err)
	}
	return "i" + strconv.FormatUint(st.Ino, 10), nil
}
