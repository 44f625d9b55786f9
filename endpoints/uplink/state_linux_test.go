package uplink

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestStateFilesOfNamespacesDiffer(t *testing.T) {
	k := newKernel(t)
	first, err := namespace()
	k.must(err)
	again, err := namespace()
	k.must(err)
	k.must(unix.Unshare(unix.CLONE_NEWNET))
	other, err := namespace()
	k.must(err)
	if first != again || first == other {
		t.Errorf("namespaces are called %s, again %s, and %s", first, again, other)
	}
}

func TestWhereTheStateFileIs(t *testing.T) {
	tmp := t.TempDir()
	run := filepath.Join(tmp, "run", "bondd")
	if p, err := defaultState(run, tmp, "bondd0", "42"); err != nil || p != run+"/bondd0-42.json" {
		t.Errorf("got %s %v", p, err)
	}
	file := filepath.Join(tmp, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(tmp, "bondd-"+strconv.Itoa(os.Getuid()))
	for range 2 {
		if p, err := defaultState(file+"/bondd", tmp, "bondd0", "42"); err != nil || p != own+"/bondd0-42.json" {
			t.Errorf("got %s %v", p, err)
		}
	}
	// A directory that others may write to, or a link into one, is a trap.
	if err := os.Chmod(own, 0o777); err != nil {
		t.Fatal(err)
	}
	if p, err := defaultState(file+"/bondd", tmp, "bondd0", "42"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %s %v", p, err)
	}
	os.Remove(own)
	if err := os.Symlink(run, own); err != nil {
		t.Fatal(err)
	}
	if p, err := defaultState(file+"/bondd", tmp, "bondd0", "42"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %s %v", p, err)
	}
}

func TestStateOfAnotherNamespaceOrBootIsNotRestored(t *testing.T) {
	k := newKernel(t)
	path := filepath.Join(t.TempDir(), "state.json")
	k.sysctl("net/ipv4/ip_forward", "1")
	for _, left := range []string{
		`{"format":1,"boot":"` + bootID() + `","netns":"0","sysctls":[{"key":"net/ipv4/ip_forward","old":"0","new":"1"}]}`,
		`{"format":1,"boot":"earlier","netns":"` + mustNamespace(k) + `","sysctls":[{"key":"net/ipv4/ip_forward","old":"0","new":"1"}]}`,
		`not JSON`,
		``,
	} {
		k.must(os.WriteFile(path, []byte(left), 0o600))
		s := k.open(Options{State: path})
		k.must(s.Sweep(t.Context()))
		k.wantSysctl("net/ipv4/ip_forward", "1")
		k.must(s.Close(t.Context()))
	}
	// The same left by a predecessor here and now is.
	k.must(os.WriteFile(path, []byte(`{"format":1,"boot":"`+bootID()+`","netns":"`+mustNamespace(k)+
		`","sysctls":[{"key":"net/ipv4/ip_forward","old":"0","new":"1"}]} and a tail`), 0o600))
	k.must(k.open(Options{State: path}).Sweep(t.Context()))
	k.wantSysctl("net/ipv4/ip_forward", "0")
}

func mustNamespace(k *kernel) string {
	n, err := namespace()
	k.must(err)
	return n
}
