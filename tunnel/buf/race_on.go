//go:build race

package buf

const raceEnabled = true

// poison is what a released buffer contains.
var poison = func() (p [Size]byte) {
	for i := range p {
		p[i] = 0xdb
	}
	return p
}()
