package config

import (
	"fmt"
	"strings"

	"github.com/bondd/bondd/tunnel/control"
)

// NewPrivateKey makes a private key and returns it as the text that a key file
// holds, without a line end.
func NewPrivateKey() (string, error) {
	k, err := control.Generate()
	if err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	return k.String(), nil
}

// PublicKey returns the public key that belongs to a private one, both as
// text. Blanks and line ends around the private key are ignored.
func PublicKey(private string) (string, error) {
	k, err := control.ParsePrivateKey(strings.TrimSpace(private))
	if err != nil {
		return "", err
	}
	return k.Public().String(), nil
}
