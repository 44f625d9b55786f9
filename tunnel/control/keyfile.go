package control

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
)

// maxKeyFile is more than a key file with a line end and some blanks has.
const maxKeyFile = 4096

// LoadPrivateKey reads a private key from a file that contains its text and
// nothing else but blanks and line ends. A file that anybody but its owner may
// touch is refused.
func LoadPrivateKey(file string) (PrivateKey, error) {
	f, err := os.Open(file)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("private key: %w; make one with `umask 077; bondd genkey > %s`", err, file)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return PrivateKey{}, fmt.Errorf("private key: %w", err)
	}
	if info.IsDir() {
		return PrivateKey{}, fmt.Errorf("private key: %s is a directory, want a file", file)
	}
	// Windows has no such modes; there the directory has to protect the file.
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return PrivateKey{}, fmt.Errorf("private key: mode %#o of %s lets others use it; run `chmod 600 %s`", mode, file, file)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return PrivateKey{}, fmt.Errorf("private key: %w", err)
	}
	defer clear(text)
	k, err := ParsePrivateKey(string(bytes.TrimSpace(text)))
	if err != nil {
		return PrivateKey{}, fmt.Errorf("%s: %w", file, err)
	}
	return k, nil
}
