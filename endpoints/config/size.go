package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Size is an amount of traffic in bytes, as a bill counts it.
type Size uint64

// sizeUnits are decimal, as on a bill. The longest multiple comes first.
var sizeUnits = []struct {
	name string
	mult float64
}{{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}}

// maxSize is a typing mistake if it is meant.
const maxSize = 1e15

// ParseSize reads an amount: a decimal number and a unit, "500MB", "5GB", "1.5TB".
func ParseSize(s string) (Size, error) {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok || !isDecimal(number) {
			continue
		}
		f, err := strconv.ParseFloat(number, 64)
		if err != nil {
			break
		}
		if f *= u.mult; f < 1e6 || f > maxSize {
			return 0, fmt.Errorf("%q is out of range; it must lie between 1MB and 1000TB", s)
		}
		return Size(f), nil
	}
	return 0, fmt.Errorf("%q is not an amount of traffic; write a number and MB, GB or TB, like \"5GB\"", s)
}

// String returns the amount as ParseSize reads it, in the largest unit that does not make it a fraction below one.
func (n Size) String() string {
	for _, u := range sizeUnits {
		if f := float64(n) / u.mult; f >= 1 {
			return strconv.FormatFloat(f, 'f', -1, 64) + u.name
		}
	}
	return strconv.FormatFloat(float64(n)/1e6, 'f', -1, 64) + "MB"
}
