package link

// fifo is a queue in a slice; popped slots are cleared and their room is
// used again.
type fifo[T any] struct {
	s    []T
	head int
}

func (f *fifo[T]) len() int  { return len(f.s) - f.head }
func (f *fifo[T]) front() *T { return &f.s[f.head] }

func (f *fifo[T]) push(v T) {
	// Move only when at least half is free, so that the copying is paid for.
	if len(f.s) == cap(f.s) && f.head*2 > len(f.s) {
		n := copy(f.s, f.s[f.head:])
		clear(f.s[n:])
		f.s, f.head = f.s[:n], 0
	}
	f.s = append(f.s, v)
}

func (f *fifo[T]) pop() T {
	var none T
	v := f.s[f.head]
	f.s[f.head] = none
	f.head++
	if f.head == len(f.s) {
		f.s, f.head = f.s[:0], 0
	}
	return v
}
