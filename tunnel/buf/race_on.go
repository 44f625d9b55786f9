//go:build race

package buf

const raceEnabled = true

// pattern is what a released buffer contains.
const pattern = 0xdb

func (b *Buf) poison() {
	for i := range b.data {
		b.data[i] = pattern
	}
}

func (b *Buf) poisoned() bool {
	for _, c := range b.data {
		if c != pattern {
			return false
		}
	}
	return true
}
