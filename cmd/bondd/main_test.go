package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
)

// call runs a command line with the input and returns the exit code and what
// it printed.
func call(t *testing.T, input string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, streams{strings.NewReader(input), &o, &e})
	return code, o.String(), e.String()
}

// want calls a command line and compares the exit code and a part of what each
// stream got; an empty part wants an empty stream.
func want(t *testing.T, code int, out, errs string, args ...string) {
	t.Helper()
	gotCode, gotOut, gotErrs := call(t, "", args...)
	if gotCode != code {
		t.Errorf("bondd %v: exit code %d, want %d", args, gotCode, code)
	}
	for _, s := range []struct{ name, got, want string }{{"standard output", gotOut, out}, {"standard error", gotErrs, errs}} {
		if !strings.Contains(s.got, s.want) || s.want == "" && s.got != "" {
			t.Errorf("bondd %v: on %s\n%s\nwant %q in it", args, s.name, s.got, s.want)
		}
	}
}

func TestUsage(t *testing.T) {
	want(t, exitUsage, "", "usage: bondd COMMAND")
	want(t, exitOK, "usage: bondd COMMAND", "", "help")
	want(t, exitOK, "usage: bondd COMMAND", "", "--help")
	want(t, exitUsage, "", `there is no command "chek"; did you mean "check"?`, "chek")
	want(t, exitUsage, "", `there is no command "x"; "bondd help" lists them`, "x")
	want(t, exitUsage, "", `bondd help: there is no command "x"`, "help", "x")
	want(t, exitUsage, "", `unexpected argument "b"`, "help", "run", "b")
	want(t, exitUsage, "", "bondd check: flag provided but not defined: -x\n\"bondd help check\" shows how it is used.\n", "check", "-x")
	want(t, exitUsage, "", `bondd check: unexpected argument "file"`, "check", "file")
	want(t, exitUsage, "", "lab, sim, cpu, live, compare or doc is missing", "bench")
	want(t, exitUsage, "", `there is no bench "cpus"; choose lab, sim, cpu, live, compare or doc`, "bench", "cpus")
}

func TestHelp(t *testing.T) {
	_, list, _ := call(t, "", "help")
	for _, cmd := range commands {
		if !strings.Contains(list, "\n  "+cmd.name+" ") || cmd.short == "" {
			t.Errorf("\"bondd help\" does not say what %s is for", cmd.name)
		}
		if cmd == demoCommand {
			continue // bench prints it
		}
		want(t, exitOK, "usage: bondd "+cmd.name, "", "help", cmd.name)
		want(t, exitOK, "usage: bondd "+cmd.name, "", cmd.name, "-h")
	}
	want(t, exitOK, `usage: bondd check [FLAGS]

Reads a configuration`, "", "help", "check")
	want(t, exitOK, `
Flags:
  -c FILE       read the configuration from FILE (default /etc/bondd/bondd.toml)
`, "", "help", "check")
}

// TestHelpFitsTheScreen keeps every line of help within 80 columns.
func TestHelpFitsTheScreen(t *testing.T) {
	texts := []string{"help"}
	for _, cmd := range commands {
		if cmd != demoCommand {
			texts = append(texts, cmd.name)
		}
	}
	for _, name := range texts {
		_, text, _ := call(t, "", "help", name)
		for line := range strings.Lines(text) {
			if n := len(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("bondd help %s: %d columns: %s", name, n, line)
			}
		}
	}
}

func TestKeys(t *testing.T) {
	code, private, errs := call(t, "", "genkey")
	if code != exitOK || errs != "" || len(private) != 45 {
		t.Fatalf("genkey: code %d, %q, %q", code, private, errs)
	}
	if _, again, _ := call(t, "", "genkey"); again == private {
		t.Error("genkey makes the same key twice")
	}
	code, public, errs := call(t, "\n "+private, "pubkey")
	if code != exitOK || errs != "" || len(public) != 45 || public == private {
		t.Errorf("pubkey: code %d, %q, %q", code, public, errs)
	}
	if code, out, errs := call(t, "nonsense", "pubkey"); code != exitFailed || out != "" || !strings.HasPrefix(errs, "bondd pubkey: ") {
		t.Errorf("pubkey of nonsense: code %d, %q, %q", code, out, errs)
	}
}

func TestGenkeyIntoAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	code, public, errs := call(t, "", "genkey", file)
	if code != exitOK || errs != "" {
		t.Fatalf("code %d: %s", code, errs)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v", st.Mode(), err)
	}
	private, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, p, _ := call(t, string(private), "pubkey"); p != public {
		t.Errorf("genkey printed %q, the key in the file has %q", public, p)
	}
	want(t, exitFailed, "", "file exists", "genkey", file)
	if again, _ := os.ReadFile(file); !bytes.Equal(again, private) {
		t.Error("genkey has written over a key")
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	keyFile, file := filepath.Join(dir, "key"), filepath.Join(dir, "bondd.toml")
	_, public, _ := call(t, "", "genkey", keyFile)
	_, peer, _ := call(t, "", "genkey", filepath.Join(dir, "peer"))
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	write(fmt.Sprintf("role = \"gateway\"\nprivate_key_file = %q\nexit.address = \"192.0.2.1\"\nexit.key = %q\n", keyFile, strings.TrimSpace(peer)))
	want(t, exitOK, "public key      "+public, "", "check", "-c", file)
	want(t, exitOK, "exit            192.0.2.1:7117", "", "check", "-c", file)

	want(t, exitOK, "chain take {", "", "rules", "--print", "-c", file)
	write(fmt.Sprintf("role = \"exit\"\nprivate_key_file = %q\n[[gateway]]\nkey = %q\n", keyFile, strings.TrimSpace(peer)))
	want(t, exitOK, "table inet bondd {", "", "rules", "-c", file)

	write("rolle = \"gateway\"\nexit.adress = \"192.0.2.1\"\nexit.key = 1\nprivate_key_file = \"" + keyFile + "\"\n")
	all := strings.Join([]string{
		file + `:1: unknown field "rolle"; did you mean "role"?`,
		file + `:2: unknown field "adress" in [exit]; did you mean "address"?`,
		file + `:3: exit.key: want a string like the output of "bondd pubkey", found a whole number`,
	}, "\n") + "\n"
	for _, command := range []string{"check", "run"} {
		code, out, errs := call(t, "", command, "-c", file)
		if code != exitUsage || out != "" || errs != all {
			t.Errorf("%s: code %d, %q\n%s\nwant\n%s", command, code, out, errs, all)
		}
	}
	want(t, exitUsage, "", "bondd check: read configuration: open "+dir+"/none: no such file", "check", "-c", dir+"/none")
}

func TestFailCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{errors.New("x"), exitFailed},
		{fmt.Errorf("open tun: %w", syscall.EPERM), exitUnsupported},
		{fmt.Errorf("open tun: %w", syscall.EACCES), exitUnsupported},
		{fmt.Errorf("open tun: %w", syscall.EOPNOTSUPP), exitUnsupported},
		{fmt.Errorf("nftables: %w", errors.ErrUnsupported), exitUnsupported},
		{syscall.ENOENT, exitFailed},
	} {
		var errs bytes.Buffer
		if code := (&invocation{cmd: runCommand, streams: streams{err: &errs}}).fail(c.err); code != c.code {
			t.Errorf("%v: code %d, want %d", c.err, code, c.code)
		}
		if want := "bondd run: " + c.err.Error() + "\n"; errs.String() != want {
			t.Errorf("%q, want %q", &errs, want)
		}
	}
}

func TestVersion(t *testing.T) {
	want(t, exitOK, "bondd ", "", "version")
	setting := func(k, v string) debug.BuildSetting { return debug.BuildSetting{Key: k, Value: v} }
	for prefix, info := range map[string]*debug.BuildInfo{
		"bondd devel go":  {},
		"bondd v1.2.3 go": {Main: debug.Module{Version: "v1.2.3"}},
		"bondd devel (0123456789ab) go": {Main: debug.Module{Version: "(devel)"},
			Settings: []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef0123"), setting("vcs.modified", "false")}},
		"bondd devel (0123456789ab, modified) go": {Settings: []debug.BuildSetting{setting("vcs.modified", "true"), setting("vcs.revision", "0123456789abcdef")}},
	} {
		if got := versionLine(info); !strings.HasPrefix(got, prefix) {
			t.Errorf("got %q, want it to begin with %q", got, prefix)
		}
	}
}
