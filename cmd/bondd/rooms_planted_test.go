package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The tests in this file hold the checkers themselves to account: each plants
// breaches of the rules and wants exactly those found. A breach is marked by a
// comment on its line, "// ! " and a part of the message.

var mark = regexp.MustCompile(`// ! (.*)`)

// wantFindings compares findings with the marks in the sources, both ways.
func wantFindings(t *testing.T, got []finding, sources map[string]string) {
	t.Helper()
	want := map[string]string{} // by file:line
	for name, text := range sources {
		for i, line := range strings.Split(text, "\n") {
			if m := mark.FindStringSubmatch(line); m != nil {
				want[fmt.Sprintf("%s:%d", name, i+1)] = m[1]
			}
		}
	}
	for _, f := range got {
		at := fmt.Sprintf("%s:%d", f.pos.Filename, f.pos.Line)
		switch text, planted := want[at]; {
		case !planted:
			t.Errorf("found, but not planted: %v", f)
		case !strings.Contains(f.text, text):
			t.Errorf("%v\nwant a message with %q", f, text)
		}
		delete(want, at)
	}
	for at, text := range want {
		t.Errorf("planted at %s, but not found: %s", at, text)
	}
}

func parse(t *testing.T, fset *token.FileSet, name, text string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPlantedImpurity(t *testing.T) {
	const impure = `package p

import (
	"fmt"
	. "math/rand/v2"
	clock "time"
)

type table map[string]int

type machine struct {
	in  chan int // ! channel
	m   table
	now clock.Duration
	rng *Rand
}

func (m *machine) wait() {
	go m.wait()    // ! go statement
	select {}      // ! select
}

func (m *machine) feed(n int) {
	m.in <- n      // ! send
	<-m.in         // ! receive
	for range m.in { // ! range over a channel
	}
}

func clocks() {
	_ = clock.Now()             // ! time.Now
	_ = clock.Since             // ! time.Since
	_ = clock.Until             // ! time.Until
	clock.Sleep(1)              // ! time.Sleep
	_ = clock.After(1)          // ! time.After
	clock.AfterFunc(1, clocks)  // ! time.AfterFunc
	_ = clock.NewTimer(1)       // ! time.NewTimer
	_ = clock.NewTicker(1)      // ! time.NewTicker
	_ = clock.Tick              // ! time.Tick
}

func chance() {
	_ = IntN(6)                 // ! rand.IntN
	_ = N[clock.Duration](6)    // ! rand.N
	Shuffle(1, func(int, int) {}) // ! rand.Shuffle
}

func order[M ~map[K]V, K comparable, V any](m M, t table) {
	for range m { // ! range over a map
	}
	for k := range t { // ! range over a map
		fmt.Println(k) // ! fmt.Println
	}
	for range (map[int]int{}) { // ! range over a map
	}
	println() // ! println
}
`
	const pure = `package p

import (
	"fmt"
	"math/rand/v2"
	"time"
)

type deadline struct {
	at  time.Duration
	rng *rand.Rand
	m   map[string]int
}

func newDeadline(seed uint64) *deadline {
	return &deadline{rng: rand.New(rand.NewPCG(seed, 0)), m: map[string]int{}}
}

func (d *deadline) Now() time.Duration { return d.at }

func (d *deadline) advance(now time.Duration, names []string) error {
	d.at = max(d.at, d.Now()+now.Round(time.Second))
	for i := range d.rng.IntN(10) {
		d.m[names[i]]++
	}
	for range names {
		delete(d.m, "x")
	}
	for range "text" {
	}
	if _, ok := d.m["y"]; ok {
		return fmt.Errorf("internal error at %s", fmt.Sprint(d.at))
	}
	return nil
}
`
	fset := token.NewFileSet()
	imp := exports(fset, goList(t, "-export", "fmt", "math/rand/v2", "time"))
	for name, text := range map[string]string{"impure.go": impure, "pure.go": pure} {
		files := []*ast.File{parse(t, fset, name, text)}
		info, err := typesOf(fset, "p", files, imp)
		if err != nil {
			t.Fatal(err)
		}
		wantFindings(t, checkPurity(fset, files, info), map[string]string{name: text})
	}
}

func TestPlantedImports(t *testing.T) {
	for path, text := range map[string]string{
		"scheduler": `package p
import "time"
import "sync" // ! room scheduler may import only bytes, cmp
import _ "unsafe" // ! imports unsafe
import "net/netip" // ! imports net/netip
import "github.com/bondd/bondd/scheduler/cc"
import "github.com/bondd/bondd/tunnel/wire" // ! room scheduler may import only scheduler/cc of the module's own
import "golang.org/x/sys/unix" // ! room scheduler may import nothing of others' modules
`,
		"scheduler/cc": `package p
import "github.com/bondd/bondd/scheduler" // ! room scheduler/cc may import nothing of the module's own
`,
		"tunnel": `package p
import "net/netip"
import "net" // ! imports net,
import "context" // ! imports context
import "github.com/bondd/bondd/scheduler"
import "github.com/bondd/bondd/tunnel/wire"
import "github.com/bondd/bondd/tunnel/control" // ! imports github.com/bondd/bondd/tunnel/control
import "github.com/bondd/bondd/bench/link" // ! imports github.com/bondd/bondd/bench/link
`,
		"tunnel/seal": `package p
import "crypto/aes"
import "crypto/rand" // ! imports crypto/rand
import "golang.org/x/crypto/chacha20poly1305"
import "golang.org/x/cryptography" // ! imports golang.org/x/cryptography
`,
		"endpoints/udp": `package p
import "net"
import "syscall"
import "golang.org/x/sys/unix"
import "github.com/bondd/bondd/endpoints/uplink"
import "github.com/bondd/bondd/endpoints/udp/udptest"
import "github.com/bondd/bondd/endpoints/tun" // ! imports github.com/bondd/bondd/endpoints/tun
import "github.com/bondd/bondd/tunnel/buf" // ! imports github.com/bondd/bondd/tunnel/buf
import "github.com/vishvananda/netlink" // ! room endpoints/udp may import only golang.org/x/sys, golang.org/x/net of others' modules
`,
		"endpoints/udp/udptest": `package p
import "github.com/bondd/bondd/endpoints/udp"
import "github.com/bondd/bondd/scheduler" // ! room endpoints/udp may
`,
		"endpoints/config": `package p
import "github.com/BurntSushi/toml"
import "github.com/bondd/bondd/tunnel/control"
import "github.com/bondd/bondd/tunnel" // ! room endpoints/config may import only tunnel/control
`,
		"endpoints": `package p
import "github.com/bondd/bondd/endpoints/tun"
import "github.com/bondd/bondd/endpoints/config"
import "github.com/bondd/bondd/tunnel/control"
import "github.com/bondd/bondd/bench" // ! imports github.com/bondd/bondd/bench
import "github.com/vishvananda/netlink" // ! room endpoints may import nothing of others' modules
import "C" // ! no cgo
`,
		"endpoints/web": `package p // ! package endpoints/web stands in no room
import "net/http"
`,
		"bench/link": `package p
import "github.com/bondd/bondd/scheduler" // ! room bench/link may import nothing
`,
		"bench/sim": `package p
import "os"
import "github.com/bondd/bondd/tunnel"
import "github.com/bondd/bondd/bench/link"
import "github.com/HdrHistogram/hdrhistogram-go"
`,
		"cmd/bondd": `package main
import "github.com/bondd/bondd/endpoints"
import "github.com/bondd/bondd/bench"
import "github.com/bondd/bondd/tunnel/control" // ! room cmd/bondd may import only endpoints
`,
		"util": `package p // ! package util stands in no room
`,
	} {
		t.Run(path, func(t *testing.T) {
			fset := token.NewFileSet()
			file := parse(t, fset, "file.go", text)
			wantFindings(t, checkImports(fset, path, file), map[string]string{"file.go": text})
		})
	}
}

func TestPlantedForm(t *testing.T) {
	lines := func(n int) []byte { return []byte("package a\n\n" + strings.Repeat("// x\n", n-2)) }
	for name, c := range map[string]struct {
		files []sourceFile
		want  []string
	}{
		"good": {[]sourceFile{
			{"a/doc.go", []byte("// Package a is a.\npackage a\n")},
			{"a/a.go", []byte("//go:build linux\n\n// About this file.\n\npackage a\n")},
			{"a/long_test.go", lines(601)},
			{"a/other_test.go", []byte("// Package a_test is no matter.\npackage a_test\n")},
			{"cmd/main.go", []byte("// Command c is c.\npackage main\n")},
		}, nil},
		"600 lines": {[]sourceFile{
			{"a/doc.go", []byte("// Package a is a.\npackage a\n")},
			{"a/a.go", lines(600)},
		}, nil},
		"long": {[]sourceFile{
			{"a/doc.go", []byte("// Package a is a.\npackage a\n")},
			{"a/a.go", lines(601)},
		}, []string{"a/a.go:601: has 601 lines, more than 600; split it by concept"}},
		"not formatted": {[]sourceFile{
			{"a/doc.go", []byte("// Package a is a.\npackage a\n\nvar  x int\n")},
			{"a/a_test.go", []byte("package a\n\n\n")},
		}, []string{
			"a/doc.go:4: is not as gofmt writes it; run gofmt -w on it",
			"a/a_test.go:2: is not as gofmt writes it; run gofmt -w on it",
		}},
		"no comment": {[]sourceFile{
			{"a/a.go", []byte("package a\n")},
		}, []string{"a/doc.go:1: has no package comment; say what the package is, who owns what, and what is weak"}},
		"elsewhere": {[]sourceFile{
			{"a/a.go", []byte("//go:build linux\n\n// Package a is a.\npackage a\n")},
			{"b/main.go", []byte("// Package b is no command.\npackage b\n")},
		}, []string{
			"a/a.go:3: has the package comment; move it to doc.go",
			"b/main.go:1: has the package comment; move it to doc.go",
		}},
		"two": {[]sourceFile{
			{"a/doc.go", []byte("// Package a is a.\npackage a\n")},
			{"a/z.go", []byte("// Package a is a, too.\npackage a\n")},
		}, []string{
			"a/z.go:1: has the package comment; move it to doc.go",
			"a/z.go:1: is the second file with a package comment; keep one, in doc.go",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, f := range checkForm(c.files) {
				got = append(got, f.String())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}

// TestRoomsTable checks the table itself: no room twice, no arrow to a room
// that is not there, and what DESIGN says of all rooms at once.
func TestRoomsTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rooms {
		if seen[r.path] {
			t.Errorf("room %s stands in the table twice", r.path)
		}
		seen[r.path] = true
	}
	for _, r := range rooms {
		for _, o := range r.own {
			if !strings.HasSuffix(o, "*") && !seen[o] {
				t.Errorf("room %s may import %s, which is no room", r.path, o)
			}
		}
		if r.pure && r.std == nil {
			t.Errorf("room %s is pure and may import all of the standard library", r.path)
		}
		inBench := r.path == "bench" || strings.HasPrefix(r.path, "bench/")
		if matches(r.own, "bench") && !inBench && r.path != "cmd/bondd" {
			t.Errorf("room %s may import bench", r.path)
		}
	}
}
