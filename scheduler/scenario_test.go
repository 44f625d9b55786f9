package scheduler

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The files of testdata are scenarios: prose, commands and what the Bond makes of them.
//
//	# What follows a hash is for the reader.
//	path 0 rtt=20ms rate=50mbit
//	send flow=1 n=3
//	----
//	0ms  path 0: flow 1 seq 0..2, pn 0..2
//
// Commands are carried out one after the other; what they bring about stands below the line of dashes, up to the next
// empty line. The commands are described where they are carried out, in scenario_commands_test.go. After every command
// the Bond takes a turn as in the engine, and the invariants are checked. Time passes only in "advance".
//
// go test ./scheduler -run Scenarios -update writes what comes out into the files. Read the difference before believing it.

var update = flag.Bool("update", false, "rewrite testdata with what comes out")

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := play(t, name, string(text))
			if err != nil {
				t.Fatal(err)
			}
			if got == string(text) {
				return
			}
			if *update {
				if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Error(difference(name, string(text), got))
		})
	}
}

// play carries out a scenario and returns it with the output that came.
func play(t *testing.T, name, text string) (string, error) {
	var out strings.Builder
	s := newStage(t)
	var commands []string
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		out.WriteString(line + "\n")
		switch trimmed := strings.TrimSpace(line); {
		case strings.HasPrefix(trimmed, "#"), trimmed == "" && len(commands) == 0:
		case trimmed == "":
			return "", fmt.Errorf("%s:%d: commands without ----", name, i+1)
		case trimmed != "----":
			commands = append(commands, fmt.Sprintf("%d %s", i+1, trimmed))
		default:
			for _, c := range commands {
				number, command, _ := strings.Cut(c, " ")
				if err := s.do(command); err != nil {
					return "", fmt.Errorf("%s:%s: %s: %w", name, number, command, err)
				}
			}
			commands = nil
			if got := s.output(); got != "" {
				out.WriteString(got)
			} else {
				out.WriteString("nothing\n")
			}
			for i+1 < len(lines) && strings.TrimSpace(lines[i+1]) != "" {
				i++
			}
		}
	}
	if len(commands) > 0 {
		return "", fmt.Errorf("%s: the last commands have no ----", name)
	}
	return out.String(), nil
}

// difference shows the first place where two texts differ.
func difference(name, want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	show := func(ls []string) string {
		from, to := min(max(i-4, 0), len(ls)), min(i+6, len(ls))
		return "    " + strings.Join(ls[from:to], "\n    ")
	}
	return fmt.Sprintf("%s:%d: it went otherwise. Expected:\n%s\nCame:\n%s", name, i+1, show(w), show(g))
}
