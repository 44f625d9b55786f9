package lab

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// trusted takes a measurement whose complaints may be the machine's fault. They
// count when the machine had time; otherwise it measures again, three times in all.
// void is why nothing could be said; the test goes on with what does not depend on
// time, and then skips.
func trusted(t *testing.T, l *Lab, measure func() (complaints []string)) (void string) {
	t.Helper()
	for range 3 {
		m, err := l.Meter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		complaints := measure()
		if len(complaints) == 0 {
			return ""
		}
		load, err := m.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if void = load.Spoiled(); void == "" {
			t.Errorf("%s\n(the machine had time: %+v)", strings.Join(complaints, "\n"), load)
			return ""
		}
		void += ": " + strings.Join(complaints, "; ")
		t.Logf("measured in vain: %s", void)
	}
	return void
}

func TestLoad(t *testing.T) {
	a, err := machineUsage([]byte("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n"))
	if err != nil {
		t.Fatal(err)
	}
	// 1000 ticks later: 100 idle, 50 stolen; of the rest the lab has 700.
	b, err := machineUsage([]byte("cpu  700 0 300 900 50 0 0 50 0 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	b.tree, b.emulator, b.spinner = 700, 100, 400
	l := load(a, b, Lateness{})
	if got, want := fmt.Sprintf("%.2f", []float64{l.Lab, l.Emulator, l.Spinner, l.Others, l.Steal}), "[0.20 0.10 0.40 0.20 0.05]"; got != want {
		t.Errorf("load %s, want %s", got, want)
	}
	for _, x := range []struct {
		load Load
		want string
	}{
		{Load{Others: 0.1, Late: Lateness{P99: 500 * time.Microsecond}}, ""},
		{Load{Others: 0.3}, "others used 30 %"},
		{Load{Late: Lateness{P99: 3 * time.Millisecond}}, "late by 3.0 ms"},
	} {
		if why := x.load.Spoiled(); why != x.want && (x.want == "" || !strings.Contains(why, x.want)) {
			t.Errorf("%+v: spoiled because %q, want %q", x.load, why, x.want)
		}
	}
	if _, err := machineUsage([]byte("intr 1\n")); err == nil {
		t.Error("a strange /proc/stat is taken")
	}
}
