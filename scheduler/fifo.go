package scheduler

// fifo is a growing ring.
type fifo[T any] struct {
	ring       []T
	head, tail uint64
}

func (f *fifo[T]) len() int { return int(f.tail - f.head) }

// at returns the i-th element from the front.
func (f *fifo[T]) at(i int) *T { return &f.ring[(f.head+uint64(i))&uint64(len(f.ring)-1)] }

func (f *fifo[T]) push(v T) {
	if f.len() == len(f.ring) {
		grown := make([]T, max(8, 2*len(f.ring)))
		for i := range f.len() {
			grown[i] = *f.at(i)
		}
		f.head, f.tail, f.ring = 0, uint64(f.len()), grown
	}
	f.ring[f.tail&uint64(len(f.ring)-1)] = v
	f.tail++
}

func (f *fifo[T]) pop() T {
	v := *f.at(0)
	f.head++
	return v
}
