package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the import path of the whole house.
const module = "github.com/bondd/bondd"

// A room is a package, or a family of packages, with one rule for what it may
// import. Test files are free: they may look at whatever they test against.
type room struct {
	path  string   // within the module; see roomOf for packages below it
	own   []string // rooms it may import; "endpoints/*" is every room below endpoints
	third []string // modules it may import
	std   []string // packages of the standard library it may import; nil is all of them
	pure  bool     // held to the purity rules too; see rooms_purity_test.go
}

// pureStd is what every pure room may import from the standard library:
// packages that compute, and neither wait, nor ask the system, nor keep state.
var pureStd = []string{
	"bytes", "cmp", "container/heap", "container/list", "encoding/binary", "errors", "fmt", "hash/fnv", "iter",
	"math", "math/bits", "math/rand/v2", "slices", "sort", "strconv", "strings", "time", "unicode/utf8",
}

// rooms is the plan of the house: every package stands in one of them. A new
// package gets a line here, with a reason for each arrow; bench is imported by
// nothing but the command.
var rooms = []room{
	{path: "scheduler", own: []string{"scheduler/cc"}, std: pureStd, pure: true},
	{path: "scheduler/cc", std: pureStd, pure: true},

	{path: "tunnel", own: []string{"scheduler", "tunnel/wire", "tunnel/seal", "tunnel/buf"}, std: plus(pureStd, "net/netip"), pure: true},
	{path: "tunnel/wire", std: pureStd, pure: true},
	{path: "tunnel/seal", third: []string{"golang.org/x/crypto"}, pure: true, std: plus(pureStd,
		"crypto/aes", "crypto/cipher", "crypto/hkdf", "crypto/hmac", "crypto/sha256", "crypto/subtle")},
	{path: "tunnel/buf", std: []string{"fmt", "sync", "sync/atomic"}}, // the pool, and the check for a double release
	{path: "tunnel/control", own: []string{"tunnel/wire", "tunnel/seal"}, third: []string{"golang.org/x/sys"}},
	{path: "tunnel/carrier", third: []string{"github.com/xtaci/smux"}},

	// The rooms of the operating system deal in bytes and addresses. They do
	// not know each other, except that a socket may be told its uplink.
	{path: "endpoints/tun", third: []string{"golang.org/x/sys", "github.com/songgao/water"}},
	{path: "endpoints/udp", own: []string{"endpoints/uplink"}, third: []string{"golang.org/x/sys", "golang.org/x/net"}},
	{path: "endpoints/uplink", third: []string{"golang.org/x/sys", "github.com/vishvananda/netlink"}},
	{path: "endpoints/mptcp", own: []string{"endpoints/uplink"}, third: []string{"golang.org/x/sys", "github.com/vishvananda/netlink"}},
	{path: "endpoints/nft", third: []string{"golang.org/x/sys", "github.com/google/nftables"}},
	{path: "endpoints/intercept", third: []string{"golang.org/x/sys", "github.com/google/nftables", "github.com/mdlayher/netlink",
		"github.com/vishvananda/netlink"}}, // interception is nftables and routing at once; mdlayher's is what nftables speaks through
	{path: "endpoints/dns", third: []string{"github.com/miekg/dns", "golang.org/x/sys"}}, // messages, and sockets of one device
	{path: "endpoints/systemd", third: []string{"github.com/coreos/go-systemd"}},         // the service manager's protocol
	{path: "endpoints/forward", own: []string{"endpoints/udp"}, third: []string{"golang.org/x/sys", "github.com/google/nftables",
		"github.com/vishvananda/netlink"}}, // a relay is nftables and tracked flows, or batches of a socket
	{path: "endpoints/meter"},                                  // sums of the kernel's counters, and their file
	{path: "endpoints/hook"},                                   // commands of the user, by os/exec
	{path: "endpoints/probe"},                                  // an echo or a SYN; the socket's uplink comes as a function
	{path: "endpoints/dial"},                                   // sockets of the standard library
	{path: "endpoints/proxy", own: []string{"endpoints/dial"}}, // targets, and the reasons why one cannot be had
	{path: "endpoints/config", own: []string{"tunnel/control"}, third: []string{"github.com/BurntSushi/toml"}}, // keys are control's

	// The roles join both worlds and touch no library themselves.
	{path: "endpoints", own: []string{"endpoints/*", "tunnel", "tunnel/*", "scheduler"}},

	{path: "bench/link", std: pureStd, pure: true},
	{path: "bench", own: []string{"*"}, third: []string{"*"}},
	{path: "bench/lab", own: []string{"*"}, third: []string{"*"}},
	{path: "bench/live", own: []string{"*"}, third: []string{"*"}},
	{path: "bench/sim", own: []string{"*"}, third: []string{"*"}},

	// bench/lab turns this program into a host of the lab before anything else; tunnel has the types of a status.
	{path: "cmd/bondd", own: []string{"endpoints", "endpoints/config", "tunnel", "bench", "bench/lab"}},
}

func plus(list []string, more ...string) []string { return slices.Concat(list, more) }

// roomOf returns the room of a package. A package without a line of its own,
// like a test fake, belongs to the room of the directory above, is held to its
// rule, and the two may import each other. That does not go for a room with
// other rooms below it: there a new package is a new room.
func roomOf(path string) (room, bool) {
	for at := path; at != "."; at = filepath.Dir(at) {
		for _, r := range rooms {
			if r.path == at {
				return r, at == path || !r.hasRoomsBelow()
			}
		}
	}
	return room{}, false
}

func (r room) hasRoomsBelow() bool {
	return slices.ContainsFunc(rooms, func(o room) bool { return strings.HasPrefix(o.path, r.path+"/") })
}

// allows reports whether a package of the room may import another, and the
// rule it would break otherwise.
func (r room) allows(path string) (rule string, ok bool) {
	own, isOwn := strings.CutPrefix(path, module+"/")
	switch {
	case path == "C":
		return "there is no cgo in bondd", false
	case isOwn:
		target, _ := roomOf(own)
		if target.path == r.path || matches(r.own, target.path) {
			return "", true
		}
		return fmt.Sprintf("room %s may import %s of the module's own", r.path, listed(r.own)), false
	case strings.Contains(strings.Split(path, "/")[0], "."):
		if slices.ContainsFunc(r.third, func(m string) bool { return m == "*" || path == m || strings.HasPrefix(path, m+"/") }) {
			return "", true
		}
		return fmt.Sprintf("room %s may import %s of others' modules", r.path, listed(r.third)), false
	case r.std == nil || slices.Contains(r.std, path):
		return "", true
	}
	return fmt.Sprintf("room %s may import %s of the standard library", r.path, listed(r.std)), false
}

// matches reports whether a pattern of the list stands for path: the path
// itself, "*" for all, "a/*" for all below a.
func matches(list []string, path string) bool {
	return slices.ContainsFunc(list, func(p string) bool {
		below, all := strings.CutSuffix(p, "*")
		return p == path || all && strings.HasPrefix(path, below)
	})
}

func listed(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return "only " + strings.Join(list, ", ")
}

// A finding is one breach of a rule.
type finding struct {
	pos  token.Position
	text string // what was found, the rule, what to do
}

func (f finding) String() string { return fmt.Sprintf("%s:%d: %s", f.pos.Filename, f.pos.Line, f.text) }

// checkImports holds the imports of one file to the rule of its package.
func checkImports(fset *token.FileSet, path string, file *ast.File) []finding {
	r, ok := roomOf(path)
	if !ok {
		return []finding{{fset.Position(file.Package),
			fmt.Sprintf("package %s stands in no room; give it a line in the table of cmd/bondd/rooms_test.go", path)}}
	}
	var out []finding
	for _, spec := range file.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		if rule, ok := r.allows(name); !ok {
			out = append(out, finding{fset.Position(spec.Pos()),
				fmt.Sprintf("imports %s, but %s; move the code to a room that may, or pass in what it needs", name, rule)})
		}
	}
	return out
}

// A listedPackage is what go list tells of a package.
type listedPackage struct {
	Dir, ImportPath, Export                                   string
	Standard                                                  bool
	GoFiles, CgoFiles, IgnoredGoFiles, SFiles, CFiles, HFiles []string
	Error                                                     *struct{ Err string }
}

// path is the package's path within the module, and whether it has one.
func (p listedPackage) path() (string, bool) { return strings.CutPrefix(p.ImportPath, module+"/") }

// files are all Go files that are not tests, those for other systems included.
func (p listedPackage) files() []string {
	var out []string
	for _, f := range slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles) {
		if !strings.HasSuffix(f, "_test.go") {
			out = append(out, filepath.Join(p.Dir, f))
		}
	}
	return out
}

// goList runs go list in the module's root.
func goList(t *testing.T, args ...string) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-deps",
		"-json=Dir,ImportPath,Export,Standard,GoFiles,CgoFiles,IgnoredGoFiles,SFiles,CFiles,HFiles,Error"}, args...)...)
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, &stderr)
	}
	var list []listedPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listedPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatalf("%v: %v", cmd, err)
		}
		list = append(list, p)
	}
}

// root is the module's root directory.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatalf("the module's root is not two directories up: %v", err)
	}
	return dir
}

// report fails the test for each finding, with paths as seen from the root.
func report(t *testing.T, list []finding) {
	t.Helper()
	for _, f := range list {
		if rel, err := filepath.Rel(root(t), f.pos.Filename); err == nil {
			f.pos.Filename = rel
		}
		t.Error(f)
	}
}

// TestArrows holds every import of every package to the table of rooms. The
// imports are read from the files rather than from go list, because that
// leaves out files for other systems.
func TestArrows(t *testing.T) {
	fset := token.NewFileSet()
	count := 0
	for _, p := range goList(t, "./...") {
		path, own := p.path()
		if !own {
			continue
		}
		count++
		if p.Error != nil {
			t.Errorf("%s: %s", p.ImportPath, p.Error.Err)
		}
		_, placed := roomOf(path)
		for _, name := range p.files() {
			file, err := parser.ParseFile(fset, name, nil, parser.ImportsOnly)
			if err != nil {
				t.Error(err)
				continue
			}
			report(t, checkImports(fset, path, file))
			if !placed {
				break // once is enough
			}
		}
	}
	if count == 0 {
		t.Error("go list names no package of " + module)
	}
}
