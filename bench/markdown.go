package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// writeMarkdown is the table for a page of the documentation.
func (r Report) writeMarkdown(w io.Writer) error {
	shown := r.shownColumns()
	row := func(cell func(column) string) {
		fmt.Fprint(w, "|")
		for _, c := range shown {
			fmt.Fprintf(w, " %s |", cell(c))
		}
		fmt.Fprintln(w)
	}
	row(func(c column) string { return strings.TrimSpace(c.head + " " + c.unit) })
	row(func(column) string { return "---" })
	void := 0
	for _, x := range r.Results {
		if x.Void != "" {
			void++
		}
		row(func(c column) string {
			cell := orDash(c.cell(x))
			if c.head == "set" && x.Void != "" {
				cell += " (void)"
			}
			return cell
		})
	}
	fmt.Fprintln(w)
	if void > 0 {
		fmt.Fprintf(w, "void: the machine had too little time for that run; its figures are about the machine.\n\n")
	}
	for _, n := range r.notes() {
		fmt.Fprintf(w, "%s\n\n", n)
	}
	_, err := fmt.Fprintf(w, "Made by `%s` (%s; %d cores, %s; Linux %s).\n", r.Command, r.Version, r.Host.Cores, orUnknown(r.Host.CPU), r.Host.Kernel)
	return err
}

// notes are the notes of all results, each once, with the sets it is of.
func (r Report) notes() (out []string) {
	sets := map[string][]string{}
	for _, x := range r.Results {
		for _, n := range x.Notes {
			if sets[n] == nil {
				out = append(out, n)
			}
			if !slices.Contains(sets[n], x.Set) {
				sets[n] = append(sets[n], x.Set)
			}
		}
	}
	for i, n := range out {
		out[i] = fmt.Sprintf("%s: %s.", strings.Join(sets[n], ", "), n)
	}
	return out
}

const docUsage = `usage: bondd bench doc FILE...

Makes the tables of documentation pages anew. A table stands between a line

  <!-- bondd bench lab --set V+A -->

with its command, lab or sim, and a line <!-- end -->.

`

const (
	docBegin = "<!-- bondd bench "
	docClose = " -->"
	docEnd   = "<!-- end -->"
)

// DocMain is `bondd bench doc`. It returns the exit code: 0 done, 1 a command or a
// file failed, 2 wrong usage.
func DocMain(ctx context.Context, args []string) int {
	return docMain(ctx, args, os.Stdout, os.Stderr)
}

func docMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		fmt.Fprint(stderr, docUsage)
		return exitUsage
	}
	if code, done := enter(stderr, "bondd bench doc"); done {
		return code
	}
	for _, name := range args {
		text, err := os.ReadFile(name)
		if err == nil {
			text, err = remake(text, func(command []string) ([]byte, error) { return docTable(ctx, command, stderr) })
		}
		if err == nil {
			err = os.WriteFile(name, text, 0o644)
		}
		if err != nil {
			fmt.Fprintf(stderr, "bondd bench doc: %s: %v\n", name, err)
			return exitFailure
		}
		fmt.Fprintf(stdout, "%s: made anew\n", name)
	}
	return exitOK
}

// docTable runs one command.
func docTable(ctx context.Context, command []string, stderr io.Writer) ([]byte, error) {
	run := map[string]func(context.Context, []string, io.Writer, io.Writer) int{"lab": labMain, "sim": simMain}[command[0]]
	if run == nil {
		return nil, fmt.Errorf("bench %s makes no table; lab and sim do", command[0])
	}
	var out bytes.Buffer
	if code := run(ctx, append(command[1:len(command):len(command)], "--markdown"), &out, stderr); code != exitOK {
		return nil, fmt.Errorf("bondd bench %s ended with %d", strings.Join(command, " "), code)
	}
	return out.Bytes(), nil
}

// remake replaces every table of a page by what its command prints.
func remake(page []byte, run func(command []string) ([]byte, error)) ([]byte, error) {
	var out bytes.Buffer
	open := ""
	for line := range strings.Lines(string(page)) {
		trimmed := strings.TrimSpace(line)
		rest, begins := strings.CutPrefix(trimmed, docBegin)
		switch {
		case begins && open != "":
			return nil, fmt.Errorf("%q has no %q", open, docEnd)
		case begins:
			open = trimmed
			command := strings.Fields(strings.TrimSuffix(rest, docClose))
			if len(command) == 0 || !strings.HasSuffix(rest, docClose) {
				return nil, fmt.Errorf("%q is not a command", trimmed)
			}
			table, err := run(command)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&out, "%s\n%s", line, table)
		case trimmed == docEnd:
			open = ""
			out.WriteString("\n" + line)
		case open == "":
			out.WriteString(line)
		}
	}
	if open != "" {
		return nil, fmt.Errorf("%q has no %q", open, docEnd)
	}
	return out.Bytes(), nil
}
