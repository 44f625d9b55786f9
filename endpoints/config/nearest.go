package config

// Nearest returns the name that s is most likely a slip of. There is none when
// the best one is further away than a third of the letters: beyond that the
// suggestion is more confusing than the error.
func Nearest(s string, names []string) (string, bool) {
	best, least := "", max(len(s)/3, 1)+1
	for _, n := range names {
		if d := distance(s, n); d < least {
			best, least = n, d
		}
	}
	return best, best != ""
}

// distance is the optimal string alignment distance of a and b: the least
// number of bytes to insert, delete, replace, or swap with their neighbour.
// It is the textbook dynamic programme; row i, column j holds the distance of
// a[:i] and b[:j], and three rows are all it looks at.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			differs := 1
			if a[i-1] == b[j-1] {
				differs = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+differs)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
