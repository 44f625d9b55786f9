package bench

import (
	"errors"
	"strings"
	"testing"
)

func TestMarkdown(t *testing.T) {
	x := sample()
	x.Void, x.Direction, x.Notes = "transfer: busy", "up", []string{"slow", "slow"}
	var out strings.Builder
	if err := newReport("bench lab", []string{"--set", "V+A"}, []Result{sample(), x}).writeMarkdown(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for _, l := range lines[:4] {
		if strings.Count(l, "|") != strings.Count(lines[0], "|") || !strings.HasPrefix(l, "| ") {
			t.Errorf("row %q does not fit %q", l, lines[0])
		}
	}
	for _, want := range []string{"| V+A (void) |", "| 54.3 |", "| dir |", "All: service packet, flows 1.", "V+A: slow.", "the machine had too little time", "Made by `bondd bench lab --set V+A`"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Count(out.String(), "slow") != 1 {
		t.Errorf("a note is not there once:\n%s", out.String())
	}
	if strings.Contains(out.String(), "restart") || strings.Contains(out.String(), "| service") {
		t.Errorf("a column says nothing:\n%s", out.String())
	}
}

func TestRemake(t *testing.T) {
	const page = "# Page\n\n<!-- bondd bench sim --set V+A -->\nold\n<!-- end -->\n\nbetween\n<!-- bondd bench lab -->\n<!-- end -->\n"
	var ran []string
	run := func(command []string) ([]byte, error) {
		ran = append(ran, strings.Join(command, " "))
		return []byte("new\n"), nil
	}
	got, err := remake([]byte(page), "", run)
	want := "# Page\n\n<!-- bondd bench sim --set V+A -->\n\nnew\n\n<!-- end -->\n\nbetween\n<!-- bondd bench lab -->\n\nnew\n\n<!-- end -->\n"
	if err != nil || string(got) != want {
		t.Errorf("%v:\n%s", err, got)
	}
	if again, err := remake(got, "", run); err != nil || string(again) != want {
		t.Errorf("made twice: %v:\n%s", err, again)
	}
	if strings.Join(ran[:2], "; ") != "sim --set V+A; lab" {
		t.Errorf("it ran %q", ran)
	}
	const half = "# Page\n\n<!-- bondd bench sim --set V+A -->\nold\n<!-- end -->\n\nbetween\n<!-- bondd bench lab -->\n\nnew\n\n<!-- end -->\n"
	if got, err := remake([]byte(page), "lab", run); err != nil || string(got) != half {
		t.Errorf("the lab's table alone: %v:\n%s", err, got)
	}
	broken := func(command []string) ([]byte, error) {
		if command[0] == "sim" {
			return nil, errors.New("no")
		}
		return run(command)
	}
	if got, err := remake([]byte(page), "", broken); err == nil || string(got) != half {
		t.Errorf("a table that fails: %v:\n%s", err, got)
	}
	if _, err := remake([]byte(page), "sim --set V+L", run); err == nil {
		t.Error("a choice that fits nothing is taken")
	}
	for _, bad := range []string{"<!-- bondd bench sim -->\n", "<!-- bondd bench -->\n<!-- end -->\n", "<!-- bondd bench sim -->\n<!-- bondd bench sim -->\n<!-- end -->\n"} {
		if _, err := remake([]byte(bad), "", run); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, err := docTable(t.Context(), []string{"rm"}, t.Output()); err == nil {
		t.Error("any command is run")
	}
}
