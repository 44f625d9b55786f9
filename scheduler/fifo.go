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
	f.grow()
	f.ring[f.tail&uint64(len(f.ring)-1)] = v
	f.tail++
}

// insert puts v before the i-th element. It moves the i elements before it.
func (f *fifo[T]) insert(i int, v T) {
	f.grow()
	f.head--
	for k := range i {
		*f.at(k) = *f.at(k + 1)
	}
	*f.at(i) = v
}

// grow makes room for one more.
func (f *fifo[T]) grow() {
	if f.len() < len(f.ring) {
		return
	}
	grown := make([]T, max(8, 2*len(f.ring)))
	for i := range f.len() {
		grown[i] = *f.at(i)
	}
	f.head, f.tail, f.ring = 0, uint64(f.len()), grown
}

func (f *fifo[T]) pop() T {
	v := *f.at(0)
	f.head++
	return v
}
