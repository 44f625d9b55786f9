package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/bondd/bondd/endpoints/config"
)

var genkeyCommand = &command{
	name:  "genkey",
	args:  "[FILE]",
	short: "make a private key",
	long: `Makes a private key and writes it to FILE, which must not exist yet and is made
readable by its owner alone; then prints the public key that belongs to it, for
the configuration of the other side. Without FILE it prints the private key:

  bondd genkey /etc/bondd/key
  (umask 077; bondd genkey > key)`,
	run: func(_ context.Context, c *invocation) int {
		if code, ok := c.parse(1, func(*flag.FlagSet) {}); !ok {
			return code
		}
		key, err := config.NewPrivateKey()
		if err != nil {
			return c.fail(err)
		}
		if len(c.args) == 0 {
			fmt.Fprintln(c.out, key)
			if f, ok := c.out.(*os.File); ok {
				c.warnIfOpen(f)
			}
			return exitOK
		}
		if err := writeKey(c.args[0], key); err != nil {
			return c.fail(err)
		}
		return c.printPublic(key)
	},
}

var pubkeyCommand = &command{
	name:  "pubkey",
	short: "print the public key that belongs to a private one",
	long: `Reads a private key from standard input and prints its public key:

  bondd pubkey < /etc/bondd/key`,
	run: func(_ context.Context, c *invocation) int {
		if code, ok := c.parse(0, func(*flag.FlagSet) {}); !ok {
			return code
		}
		// A key is 44 bytes; the bound keeps a mistaken redirection short.
		text, err := io.ReadAll(io.LimitReader(c.in, 4096))
		if err != nil {
			return c.fail(fmt.Errorf("read standard input: %w", err))
		}
		return c.printPublic(string(text))
	},
}

func (c *invocation) printPublic(private string) int {
	public, err := config.PublicKey(private)
	if err != nil {
		return c.fail(err)
	}
	fmt.Fprintln(c.out, public)
	return exitOK
}

// writeKey makes the file, with the mode from the start: there is no moment at
// which others could open it.
func writeKey(name, key string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	_, err = fmt.Fprintln(f, key)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	return nil
}

// warnIfOpen tells when the private key was redirected into a file that others
// can read, which bondd will refuse.
func (c *invocation) warnIfOpen(f *os.File) {
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o077 != 0 {
		fmt.Fprintln(c.err, "bondd genkey: others can read the file the key went to; run \"chmod 600\" on it")
	}
}
