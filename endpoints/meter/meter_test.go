package meter

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func at(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t
}

func reading(ifindex int, bytes uint64) Reading {
	return Reading{Interface: "wwan0", Ifindex: ifindex, Boot: "a", Bytes: bytes}
}

func TestBegin(t *testing.T) {
	for _, c := range []struct {
		now, want string
		day       int
	}{
		{"2026-03-15 12:00", "2026-03-15 00:00", 15},
		{"2026-03-14 23:59", "2026-02-15 00:00", 15},
		{"2026-03-01 00:00", "2026-02-28 00:00", 31},
		{"2026-03-31 00:00", "2026-03-31 00:00", 31},
		{"2028-02-29 09:00", "2028-02-29 00:00", 30},
		{"2026-01-01 00:00", "2025-12-31 00:00", 31},
		{"2026-05-01 00:00", "2026-05-01 00:00", 1},
	} {
		if got := Begin(at(c.now), c.day); !got.Equal(at(c.want)) {
			t.Errorf("on %s, with day %d: %v, want %s", c.now, c.day, got, c.want)
		}
	}
}

// A month of a modem: replugged, rebooted, and the process with it.
func TestCount(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "quota.json")
	b, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	step := func(what, now string, r Reading, want uint64) {
		t.Helper()
		b.Count(at(now), "lte", 10, r)
		if got := b.Used("lte"); got != want {
			t.Errorf("%s: %d bytes used, want %d", what, got, want)
		}
	}
	restart := func() {
		t.Helper()
		if err := b.Save(); err != nil {
			t.Fatal(err)
		}
		if b, err = Open(file); err != nil {
			t.Fatal(err)
		}
	}
	step("what it carried before nobody counts", "2026-03-12 10:00", reading(4, 1000), 0)
	step("counting", "2026-03-12 11:00", reading(4, 1500), 500)
	restart()
	step("while bondd did not run", "2026-03-13 10:00", reading(4, 1700), 700)
	step("replugged", "2026-03-13 11:00", reading(9, 50), 750)
	step("a counter that went back", "2026-03-13 12:00", reading(9, 20), 770)
	r := reading(9, 300)
	r.Boot = "b"
	step("rebooted, in 1970", "1970-01-01 00:01", r, 1070)
	restart()
	r.Bytes = 400
	step("the clock is set", "2026-04-09 23:59", r, 1170)
	r.Bytes = 410
	step("a new period", "2026-04-10 00:00", r, 10)
	r.Bytes = 420
	step("a clock that goes back begins none", "2026-03-20 00:00", r, 20)
	r.Interface, r.Bytes = "wwan1", 5
	step("a second interface of the same uplink", "2026-04-11 00:00", r, 25)
	if b.Used("dsl") != 0 {
		t.Error("an uplink that nobody counts has used something")
	}
}

func TestDamagedFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "quota.json")
	for _, text := range []string{"", "{", `{"lte":3}`, "\x00\x00", strings.Repeat(" ", maxFile+1)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := Open(file)
		if err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%.20q: %v", text, err)
		}
		if kept, err := os.ReadFile(file + ".damaged"); err != nil || string(kept) != text {
			t.Errorf("%.20q was not kept: %v", text, err)
		}
		b.Count(at("2026-03-12 10:00"), "lte", 1, reading(1, 7))
		b.Count(at("2026-03-12 10:01"), "lte", 1, reading(1, 17))
		if err := b.Save(); err != nil || b.Used("lte") != 10 {
			t.Errorf("after %.20q: %d, %v", text, b.Used("lte"), err)
		}
	}
	if err := os.WriteFile(file, []byte(`{"lte":null}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := Open(file); err != nil || b.Used("lte") != 0 {
		t.Errorf("null: %v", err)
	}
	left, _ := filepath.Glob(file + ".[0-9]*")
	if len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}
