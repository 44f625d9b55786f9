package bench

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// writeMarkdown is the table for a page of the documentation. What was the same for all rows stands below it.
func (r Report) writeMarkdown(w io.Writer) error {
	var same []string
	shown := slices.DeleteFunc(r.shownColumns(), func(c column) bool {
		if !slices.Contains([]string{"service", "dir", "flows"}, c.head) || len(r.Results) < 2 {
			return false
		}
		cell := c.cell(r.Results[0])
		if slices.ContainsFunc(r.Results, func(x Result) bool { return c.cell(x) != cell }) {
			return false
		}
		same = append(same, c.head+" "+cell)
		return true
	})
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
	if len(same) > 0 {
		fmt.Fprintf(w, "All: %s.\n\n", strings.Join(same, ", "))
	}
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

const docUsage = `usage: bondd bench doc [--only COMMAND] FILE...

Makes the tables of documentation pages anew. A table stands between a line

  <!-- bondd bench lab --set V+A -->

with its command, lab or sim, and a line <!-- end -->. With --only the tables are
made whose command begins so, as "sim" or "lab --set V+A"; the others are left.

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
	f := flag.NewFlagSet("bondd bench doc", flag.ContinueOnError)
	only := f.String("only", "", "")
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, docUsage) }
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitOK
	} else if err != nil {
		return exitUsage
	}
	if f.NArg() == 0 {
		f.Usage()
		return exitUsage
	}
	if !strings.HasPrefix(*only, "sim") { // which needs no rights
		if code, done := enter(stderr, "bondd bench doc"); done {
			return code
		}
	}
	for _, name := range f.Args() {
		page, err := os.ReadFile(name)
		if err == nil {
			page, err = remake(page, *only, func(command []string) ([]byte, error) { return docTable(ctx, command, stderr) })
			if page != nil {
				err = errors.Join(err, os.WriteFile(name, page, 0o644))
			}
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

// remake replaces the tables of a page by what their commands print: those whose command begins with only. A table whose command fails stays as it
// was; the page is returned with the error.
func remake(page []byte, only string, run func(command []string) ([]byte, error)) ([]byte, error) {
	var out bytes.Buffer
	open, keep, made := "", false, 0
	var failed []error
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
			out.WriteString(line)
			if keep = !strings.HasPrefix(rest, only); keep {
				break
			}
			made++
			table, err := run(command)
			if err != nil {
				failed, keep = append(failed, err), true
				break
			}
			fmt.Fprintf(&out, "\n%s\n", table)
		case trimmed == docEnd:
			open, keep = "", false
			out.WriteString(line)
		case open == "" || keep:
			out.WriteString(line)
		}
	}
	if open != "" {
		return nil, fmt.Errorf("%q has no %q", open, docEnd)
	}
	if made == 0 && only != "" {
		return nil, fmt.Errorf("no table has a command that begins with %q", only)
	}
	return out.Bytes(), errors.Join(failed...)
}
