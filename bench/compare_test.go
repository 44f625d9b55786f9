package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, bonds ...float64) string {
		var runs []Result
		for _, x := range bonds {
			r := sample()
			r.Bond, r.Loaded = number(x, 2), &Delays{P50: 20, P99: 2000 / x}
			r.finish()
			runs = append(runs, r)
		}
		path := filepath.Join(dir, name)
		f, err := os.Create(path)
		if err == nil {
			err = newReport("bench lab", nil, merge(runs)).writeJSON(f)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		return path
	}
	a, b := write("a", 40, 41, 42), write("b", 50, 51, 52)
	run := func(args ...string) (string, int) {
		var out, errs strings.Builder
		code := compareMain(args, &out, &errs)
		return out.String() + errs.String(), code
	}
	text, code := run(a, b)
	if code != exitOK {
		t.Fatalf("code %d: %s", code, text)
	}
	for _, want := range []string{"V+A packet down 1", "bond_mbps", "1.24", "1.19 to 1.30  better", "ping_loaded_ms.p99", "stall_ms", "A: made by: bondd bench lab"} {
		if !strings.Contains(text, want) {
			t.Errorf("the comparison lacks %q:\n%s", want, text)
		}
	}
	if text, _ := run(b, a); !strings.Contains(text, "worse") || strings.Contains(text, "better") {
		t.Errorf("the other way round:\n%s", text)
	}
	if text, _ := run(a, a); strings.Contains(text, "better") || strings.Contains(text, "worse") {
		t.Errorf("with itself:\n%s", text)
	}
	old := filepath.Join(dir, "old")
	if err := os.WriteFile(old, []byte(`{"results": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{a, old}, {a, filepath.Join(dir, "none")}} {
		if text, code := run(args...); code != exitFailure {
			t.Errorf("%v: code %d, %s", args, code, text)
		}
	}
	if _, code := run(a); code != exitUsage {
		t.Errorf("one file: code %d", code)
	}
}
