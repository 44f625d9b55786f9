package main

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The pure rooms are machines that are told the time and asked what to do. The
// same calls in the same order give the same results, on every system; that is
// what makes a simulation repeatable and a test of a second's events take
// none. checkPurity looks for what would break it:
//
//   - goroutines, channels and select: the order of events would be the
//     scheduler's choice;
//   - the clock, in every form package time offers it: now is an argument;
//   - the shared random source: a *rand.Rand is given at construction;
//   - ranging over a map: its order is random by design;
//   - printing.
//
// Locks, sockets, files and logs are kept out by the list of packages a pure
// room may import.

// clockFuncs are the functions of package time that read the clock or wait for
// it, or depend on the time zone of the host.
var clockFuncs = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "LoadLocation"}

// randMakers are the functions of math/rand/v2 that do not use the shared
// source.
var randMakers = []string{"New", "NewPCG", "NewChaCha8", "NewZipf"}

// checkPurity walks the files of one package of a pure room.
func checkPurity(fset *token.FileSet, files []*ast.File, info *types.Info) []finding {
	var out []finding
	add := func(n ast.Node, format string, args ...any) {
		out = append(out, finding{fset.Position(n.Pos()), "pure room: " + fmt.Sprintf(format, args...)})
	}
	visit := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			add(n, "go statement; the owner of the machine calls it, on its own goroutine")
		case *ast.ChanType:
			add(n, "channel; return values and let the owner ask for them")
		case *ast.SelectStmt:
			add(n, "select; return values and let the owner ask for them")
		case *ast.SendStmt:
			add(n, "send on a channel; return values and let the owner ask for them")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				add(n, "receive from a channel; take the value as an argument")
			}
		case *ast.RangeStmt:
			switch t := info.TypeOf(n.X); {
			case t == nil: // it does not compile, which is an error of its own
			case holds[*types.Map](t):
				add(n, "range over a map, whose order is random; keep a slice, or sort the keys in one")
			case holds[*types.Chan](t):
				add(n, "range over a channel; take the values as arguments")
			}
		case *ast.Ident:
			if text := impureUse(info.Uses[n]); text != "" {
				add(n, "%s", text)
			}
		}
		return true
	}
	for _, f := range files {
		ast.Inspect(f, visit)
	}
	return out
}

// impureUse says what is wrong with the use of a name from elsewhere; nothing
// for most.
func impureUse(o types.Object) string {
	if o == nil {
		return ""
	}
	if b, ok := o.(*types.Builtin); ok && (b.Name() == "print" || b.Name() == "println") {
		return b.Name() + "; a pure room does not print"
	}
	f, ok := o.(*types.Func)
	if !ok || f.Pkg() == nil || f.Signature().Recv() != nil {
		return ""
	}
	switch name := f.Name(); f.Pkg().Path() {
	case "time":
		if slices.Contains(clockFuncs, name) {
			return "time." + name + "; take now as an argument, and tell the owner a deadline"
		}
	case "math/rand/v2":
		if !slices.Contains(randMakers, name) {
			return "rand." + name + " uses the shared random source; take a *rand.Rand at construction"
		}
	case "fmt":
		if slices.ContainsFunc([]string{"Print", "Fprint", "Scan", "Fscan"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			return "fmt." + name + "; a pure room does not print or read"
		}
	}
	return ""
}

// holds reports whether a value of type t is, or for a type parameter may be,
// of the underlying type U.
func holds[U types.Type](t types.Type) bool {
	switch u := t.Underlying().(type) {
	case U:
		return true
	case *types.Interface: // the constraint of a type parameter
		for i := range u.NumEmbeddeds() {
			if holds[U](u.EmbeddedType(i)) {
				return true
			}
		}
	case *types.Union:
		for i := range u.Len() {
			if holds[U](u.Term(i).Type()) {
				return true
			}
		}
	}
	return false
}

// exports is an importer of compiled packages, as go list -export has made
// them.
func exports(fset *token.FileSet, list []listedPackage) types.Importer {
	return importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		for _, p := range list {
			if p.ImportPath == path && p.Export != "" {
				return os.Open(p.Export)
			}
		}
		return nil, fmt.Errorf("go list -export knows no package %s", path)
	})
}

// typesOf type-checks one package. The information is incomplete after an
// error, which is returned.
func typesOf(fset *token.FileSet, path string, files []*ast.File, imp types.Importer) (*types.Info, error) {
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: imp}
	_, err := conf.Check(path, fset, files, info)
	return info, err
}

// checked parses and type-checks a package as go list has it for this system.
func checked(t *testing.T, fset *token.FileSet, p listedPackage, imp types.Importer) ([]*ast.File, *types.Info) {
	t.Helper()
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			continue
		}
		files = append(files, f)
	}
	info, err := typesOf(fset, p.ImportPath, files, imp)
	if err != nil {
		t.Errorf("%s: %v", p.ImportPath, err)
	}
	return files, info
}

// TestPureRooms holds the pure rooms to the purity rules.
func TestPureRooms(t *testing.T) {
	var args []string
	for _, r := range rooms {
		if _, err := os.Stat(filepath.Join(root(t), r.path)); r.pure && err == nil {
			args = append(args, "./"+r.path+"/...")
		}
	}
	if len(args) == 0 {
		t.Fatal("there is no pure room")
	}
	list := goList(t, append([]string{"-export"}, args...)...)
	fset := token.NewFileSet()
	imp := exports(fset, list)
	for _, p := range list {
		path, own := p.path()
		if r, _ := roomOf(path); !own || !r.pure {
			continue
		}
		if other := slices.Concat(p.CgoFiles, p.IgnoredGoFiles, p.SFiles, p.CFiles, p.HFiles); len(other) > 0 {
			t.Errorf("%s: pure room: %v; no build constraints, cgo or assembly: it does the same on every system", path, other)
		}
		files, info := checked(t, fset, p, imp)
		report(t, checkPurity(fset, files, info))
	}
}
