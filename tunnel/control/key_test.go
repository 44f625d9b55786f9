package control

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func mustGenerate(t testing.TB) PrivateKey {
	t.Helper()
	k, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyText(t *testing.T) {
	k := mustGenerate(t)
	if k == mustGenerate(t) {
		t.Fatal("the same key twice")
	}
	back, err := ParsePrivateKey(k.String())
	if err != nil || back != k {
		t.Fatalf("private key does not survive its text: %v", err)
	}
	pub, err := ParsePublicKey(k.Public().String())
	if err != nil || pub != k.Public() {
		t.Fatalf("public key does not survive its text: %v", err)
	}
	text, err := json.Marshal(map[string]PublicKey{"key": pub})
	if err != nil || !strings.Contains(string(text), `"`+pub.String()+`"`) {
		t.Fatalf("public key in JSON: %s, %v", text, err)
	}
	var m map[string]PublicKey
	if err := json.Unmarshal(text, &m); err != nil || m["key"] != pub {
		t.Fatalf("public key from JSON: %v, %v", m, err)
	}
}

// The first test vector of RFC 8032, section 7.1.
func TestPublicKeyIsThatOfEd25519(t *testing.T) {
	k, err := ParsePrivateKey("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
	if err != nil {
		t.Fatal(err)
	}
	if got := k.Public().String(); got != "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" {
		t.Errorf("public key is %s", got)
	}
	if !ed25519.Verify(ed25519.PublicKey(bytes.Clone(func() []byte { p := k.Public(); return p[:] }())), []byte("m"), ed25519.Sign(k.signer(), []byte("m"))) {
		t.Error("signature does not verify")
	}
}

func TestBadKeyTextIsRefusedAndNotRepeated(t *testing.T) {
	good := mustGenerate(t).String()
	for name, text := range map[string]string{
		"empty":           "",
		"cut":             good[:43],
		"longer":          good + "=",
		"blank in front":  " " + good[:43],
		"not base64":      strings.Repeat("!", 43) + "=",
		"33 bytes":        strings.Repeat("A", 44),
		"31 bytes":        strings.Repeat("A", 42) + "==",
		"loose last bits": strings.Repeat("A", 42) + "B=",
		"line end inside": good[:20] + "\n" + good[21:],
	} {
		_, err := ParsePrivateKey(text)
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
		if _, err := ParsePublicKey(text); err == nil {
			t.Errorf("%s: accepted as a public key", name)
		}
	}
}

// A private key inside a larger value does not get into a log by accident.
func TestPrivateKeyIsNotShown(t *testing.T) {
	k := mustGenerate(t)
	config := struct {
		Name string
		Key  PrivateKey
	}{"gateway", k}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("start", "config", config, "key", k)
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		fmt.Sprint(k), fmt.Sprintf("%v %+v %s %q %d %#v", config, config, k, k, k, config), fmt.Sprintf("%x %X", k, k),
		string(text), logged.String(),
	} {
		if !strings.Contains(shown, hiddenKey) {
			t.Errorf("no placeholder in %s", shown)
		}
		for _, secret := range []string{k.String(), fmt.Sprintf("%x", k[:]), fmt.Sprintf("%d %d %d", k[0], k[1], k[2]), fmt.Sprintf("%d,%d,%d", k[0], k[1], k[2])} {
			if strings.Contains(strings.ToLower(shown), strings.ToLower(secret)) {
				t.Errorf("%s shows the key", shown)
			}
		}
	}
}

func TestLoadPrivateKey(t *testing.T) {
	k := mustGenerate(t)
	dir := t.TempDir()
	write := func(name, text string, mode fs.FileMode) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil { // whatever the umask is
			t.Fatal(err)
		}
		return file
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		file := write(fmt.Sprintf("good%o", mode), "  "+k.String()+"\n", mode)
		if got, err := LoadPrivateKey(file); err != nil || got != k {
			t.Errorf("mode %#o: %v", mode, err)
		}
	}
	if runtime.GOOS != "windows" {
		for _, mode := range []fs.FileMode{0o644, 0o640, 0o604, 0o620, 0o601, 0o777} {
			file := write(fmt.Sprintf("open%o", mode), k.String(), mode)
			if _, err := LoadPrivateKey(file); err == nil || !strings.Contains(err.Error(), "`chmod 600 "+file+"`") {
				t.Errorf("mode %#o: %v, want an error that says what to run", mode, err)
			}
		}
	}
	for name, text := range map[string]string{
		"empty": "", "two": k.String() + "\n" + k.String(), "long": k.String() + strings.Repeat(" ", 9000) + "x",
	} {
		file := write(name, text, 0o600)
		if got, err := LoadPrivateKey(file); name == "long" {
			if err != nil || got != k { // the rest is not read
				t.Errorf("%s: %v", name, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, want an error that names the file", name, err)
		}
	}
	if _, err := LoadPrivateKey(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "bondd genkey") {
		t.Errorf("no file: %v", err)
	}
	if _, err := LoadPrivateKey(dir); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a directory: %v", err)
	}
}
