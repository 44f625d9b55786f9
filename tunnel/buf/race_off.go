//go:build !race

package buf

const raceEnabled = false

var poison [Size]byte
