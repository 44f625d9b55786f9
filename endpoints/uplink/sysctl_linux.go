package uplink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const procSys = "/proc/sys/"

// savedSysctl is a variable that we changed.
type savedSysctl struct {
	Key  string `json:"key"`
	Old  string `json:"old"`
	New  string `json:"new"`
	When string `json:"when,omitempty"`
	// Also are the companions of Key. The New of one that the kernel changes by
	// itself is empty between the note and the change.
	Also []savedSysctl `json:"also,omitempty"`
}

// satisfied tells whether the variable needs no change.
func (s Sysctl) satisfied() (bool, error) {
	now, err := readSysctl(s.Key)
	if err != nil {
		return false, err
	}
	if s.When == "" {
		return now == s.Value, nil
	}
	if strings.HasSuffix(s.Key, "/rp_filter") {
		// The kernel uses the larger of the interface's own and the common one
		// (ip-sysctl, rp_filter).
		all, err := readSysctl("net/ipv4/conf/all/rp_filter")
		if err != nil {
			return false, err
		}
		now = max(now, all) // one digit each
	}
	return now != s.When, nil
}

// companion is a variable that changes along with another; set, if not empty,
// is what we write into it before.
type companion struct{ key, set string }

// companions lists the variables that change when key is written. Switching
// forwarding for all interfaces writes each interface's own switch, and for
// IPv4 whether redirects are accepted (inet_forward_change, addrconf_fixup_forwarding).
// An IPv6 router does not listen to router advertisements (RFC 4861 6.2.2) and
// Linux takes the routes learned from them away at the switch: an uplink would
// lose its default route for good. accept_ra 2 is "listen although forwarding";
// whatever interface listened before, or will come, goes on listening.
func companions(key string) []companion {
	var out []companion
	each := func(glob string, fn func(key string)) {
		files, _ := filepath.Glob(procSys + glob) // the patterns are well-formed
		for _, f := range files {
			k := strings.TrimPrefix(f, procSys)
			if k != key && k != "net/ipv4/conf/all/forwarding" { // the latter is ip_forward itself
				fn(k)
			}
		}
	}
	follow := func(k string) { out = append(out, companion{key: k}) }
	switch key {
	case keyForward4:
		each("net/ipv4/conf/all/accept_redirects", follow)
		each("net/ipv4/conf/*/forwarding", follow)
	case keyForward6:
		each("net/ipv6/conf/*/accept_ra", func(k string) {
			if v, err := readSysctl(k); err == nil && v == "1" {
				out = append(out, companion{k, "2"})
			}
		})
		each("net/ipv6/conf/*/forwarding", follow)
	}
	return out
}

// addSysctl changes a variable unless it is as wanted, and keeps what it was.
// The note is on file before the change.
func (s *System) addSysctl(want Sysctl) error {
	ok, err := want.satisfied()
	if errors.Is(err, fs.ErrNotExist) && strings.Contains(want.Key, "/conf/") && want.Key != keyForward6 {
		return nil // the interface has left, or has no IPv6 (MTU below 1280)
	}
	if err != nil || ok {
		return err
	}
	i := s.state.find(want.Key)
	if i < 0 {
		old, err := readSysctl(want.Key)
		if err != nil {
			return err
		}
		saved := savedSysctl{Key: want.Key, Old: old, New: want.Value, When: want.When}
		for _, c := range companions(want.Key) {
			if v, err := readSysctl(c.key); err == nil {
				saved.Also = append(saved.Also, savedSysctl{Key: c.key, Old: v, New: c.set})
			}
		}
		s.state.Sysctls = append(s.state.Sysctls, saved)
		if err := s.save(); err != nil {
			return err
		}
		i = len(s.state.Sysctls) - 1
	}
	also := s.state.Sysctls[i].Also
	for _, a := range also {
		if a.New != "" && a.New != a.Old {
			if err := writeSysctl(a.Key, a.New); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return readOnly(Sysctl{Key: a.Key, Value: a.New}, err)
			}
		}
	}
	if err := writeSysctl(want.Key, want.Value); err != nil {
		return readOnly(want, err)
	}
	for j := range also {
		also[j].New, _ = readSysctl(also[j].Key) // gone since: stays unknown
	}
	if len(also) == 0 {
		return nil
	}
	return s.save()
}

// readOnly says what a user of a container can do.
func readOnly(want Sysctl, err error) error {
	if errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; or set %s=%s from outside (a container's /proc/sys is often read-only)", err, want.Key, want.Value)
	}
	return err
}

// removeSysctl restores a variable that we changed, unless somebody has changed
// it since: then that is how it is wanted.
func (s *System) removeSysctl(key string) error {
	i := s.state.find(key)
	if i < 0 {
		return nil
	}
	saved := s.state.Sysctls[i]
	err := saved.restore()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.state.Sysctls = append(s.state.Sysctls[:i], s.state.Sysctls[i+1:]...)
	return s.save()
}

func (v savedSysctl) restore() error {
	now, err := readSysctl(v.Key)
	if err != nil {
		return err
	}
	if now != v.New {
		return nil
	}
	// Writing Key changes the others again, so what they are to be is settled before.
	target := make(map[string]string, len(v.Also))
	for _, a := range v.Also {
		now, err := readSysctl(a.Key)
		switch {
		case err != nil: // the interface has left
		case now == a.New || a.New == "":
			target[a.Key] = a.Old
		default:
			target[a.Key] = now
		}
	}
	if err := writeSysctl(v.Key, v.Old); err != nil {
		return err
	}
	var errs []error
	for _, a := range v.Also {
		want, ok := target[a.Key]
		if now, err := readSysctl(a.Key); !ok || err != nil || now == want {
			continue
		}
		if err := writeSysctl(a.Key, want); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
