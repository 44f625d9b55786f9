package main

import (
	"bytes"
	"fmt"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// maxLines is the greatest length of a file that is not a test. A file that
// long holds more than one concept; most stay below 400.
const maxLines = 600

// A sourceFile is one Go file, wherever it came from.
type sourceFile struct {
	name string // with its directory
	text []byte
}

// checkForm holds a set of files to the rules of form: gofmt, length, and one
// package comment for each package, in doc.go (a command may have it in
// main.go).
func checkForm(files []sourceFile) []finding {
	var out []finding
	fset := token.NewFileSet()
	comments := map[string][]string{} // by directory: the files with a package comment
	var dirs []string
	add := func(name string, line int, format string, args ...any) {
		out = append(out, finding{token.Position{Filename: name, Line: line}, fmt.Sprintf(format, args...)})
	}
	for _, f := range files {
		formatted, err := format.Source(f.text)
		if err != nil {
			add(f.name, 1, "does not parse: %v", err)
			continue
		}
		if !bytes.Equal(formatted, f.text) {
			add(f.name, firstDifference(formatted, f.text), "is not as gofmt writes it; run gofmt -w on it")
		}
		if strings.HasSuffix(f.name, "_test.go") {
			continue
		}
		if n := bytes.Count(f.text, []byte("\n")); n > maxLines {
			add(f.name, n, "has %d lines, more than %d; split it by concept", n, maxLines)
		}
		dir := filepath.Dir(f.name)
		if _, seen := comments[dir]; !seen {
			comments[dir] = nil
			dirs = append(dirs, dir)
		}
		file, err := parser.ParseFile(fset, f.name, f.text, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil || file.Doc == nil {
			continue
		}
		comments[dir] = append(comments[dir], f.name)
		base := filepath.Base(f.name)
		if base != "doc.go" && (base != "main.go" || file.Name.Name != "main") {
			add(f.name, fset.Position(file.Doc.Pos()).Line, "has the package comment; move it to doc.go")
		}
	}
	for _, dir := range dirs {
		switch with := comments[dir]; {
		case len(with) == 0:
			add(filepath.Join(dir, "doc.go"), 1, "has no package comment; say what the package is, who owns what, and what is weak")
		case len(with) > 1:
			add(with[1], 1, "is the second file with a package comment; keep one, in doc.go")
		}
	}
	return out
}

// firstDifference is the line at which two texts part.
func firstDifference(a, b []byte) int {
	line := 1
	for i := 0; i < len(a) && i < len(b) && a[i] == b[i]; i++ {
		if a[i] == '\n' {
			line++
		}
	}
	return line
}

// TestForm holds every Go file of the module to the rules of form.
func TestForm(t *testing.T) {
	var files []sourceFile
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != top && (name[0] == '.' || name[0] == '_' || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		files = append(files, sourceFile{path, text})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	report(t, checkForm(files))
}
