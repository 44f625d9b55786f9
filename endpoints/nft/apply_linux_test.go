package nft

import (
	"errors"
	"io/fs"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// inNamespace moves the test into a network namespace of its own. The thread is
// never unlocked, so the runtime ends it with the goroutine and the namespace
// vanishes with its last thread.
func inNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		t.Skipf("no network namespace of its own: %v", err)
	}
}

// list returns what the nft command shows of all tables; skips without it.
func list(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("the nft command is not installed: nothing to compare with")
	}
	out, err := exec.Command(path, "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft list ruleset: %v\n%s", err, out)
	}
	return string(out)
}

func mustApply(t *testing.T, c Config) {
	t.Helper()
	if err := Apply(c); errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
}

func TestKernelHoldsWhatTextSays(t *testing.T) {
	for name, c := range map[string]Config{"gateway": gateway, "exit": exit, "exit by device": exitByDevice, "gateway with all": gatewayWithAll, "gateway with rules": gatewayWithRules, "exit with all": exitWithAll} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			mustApply(t, c)
			mustApply(t, c) // replaces, does not add
			if got, want := list(t), Text(c); got != want {
				t.Errorf("nft lists\n%swant\n%s", got, want)
			}
		})
	}
}

func TestNftAcceptsTheText(t *testing.T) {
	inNamespace(t)
	list(t) // skips without the command
	for _, c := range []Config{gateway, exit, exitByDevice, gatewayWithAll, gatewayWithRules, exitWithAll} {
		cmd := exec.Command("nft", "--check", "-f", "-")
		cmd.Stdin = strings.NewReader(Text(c))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s%s", err, out, Text(c))
		}
	}
}

func TestApplyReplacesAndRemoveLeavesOthersAlone(t *testing.T) {
	inNamespace(t)
	list(t)
	if out, err := exec.Command("nft", "add", "table", "inet", "home").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	before := list(t)

	if err := Remove(gateway); err != nil {
		t.Fatalf("remove of nothing: %v", err)
	}
	mustApply(t, gateway)
	mustApply(t, exit)
	if got, want := list(t), before+Text(exit); strings.ReplaceAll(got, "\n", "") != strings.ReplaceAll(want, "\n", "") {
		t.Errorf("after a change of configuration\n%swant\n%s", got, want)
	}
	for range 2 {
		if err := Remove(exit); err != nil {
			t.Fatal(err)
		}
		if got := list(t); got != before {
			t.Errorf("after Remove\n%swant\n%s", got, before)
		}
	}
}

func TestWithoutRights(t *testing.T) {
	inNamespace(t)
	// Capabilities belong to the thread, which ends with this goroutine.
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&hdr, &none[0]); err != nil {
		t.Skipf("capabilities cannot be dropped: %v", err)
	}
	for _, err := range []error{Apply(gateway), Remove(gateway)} {
		if !errors.Is(err, ErrRights) || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("got %v, want ErrRights", err)
		}
		t.Log(err)
	}
}

// TestKernelHoldsTheRules needs no nft command: the kernel is asked by netlink.
func TestKernelHoldsTheRules(t *testing.T) {
	inNamespace(t)
	mustApply(t, exit)
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	count := func() map[string]int {
		n := make(map[string]int)
		chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range chains {
			msgs, err := conn.GetRules(c.Table, c)
			if err != nil && !strings.Contains(err.Error(), "not yet implemented") { // the library reads no rt
				t.Fatal(err)
			}
			n[c.Table.Name+"/"+c.Name] = len(msgs)
		}
		return n
	}
	got := count()
	if _, ok := got["bondd/forward"]; !ok || got["bondd/postrouting"] != len(exit.Inner) || len(got) != 2 {
		t.Errorf("chains and rules: %v", got)
	}
	if err := Remove(exit); err != nil {
		t.Fatal(err)
	}
	if got := count(); len(got) != 0 {
		t.Errorf("left after Remove: %v", got)
	}
}
