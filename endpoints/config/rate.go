package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Rate is a data rate in bits per second of IP packets; 0 means no limit.
type Rate float64

// Bounds of a cap. Below the lower one a full packet takes more than a second
// and no timer of the transport makes sense; above the upper one it is a typing
// mistake.
const (
	MinRate Rate = 8e3
	MaxRate Rate = 100e9
)

// rateUnits are decimal, as everywhere in telecommunication. The longest come
// first because "bit" ends them all.
var rateUnits = []struct {
	name string
	mult float64
}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

// ParseRate reads a rate: a decimal number and a unit, "512kbit", "10mbit",
// "1.5gbit". The result lies between MinRate and MaxRate.
func ParseRate(s string) (Rate, error) {
	for _, u := range rateUnits {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		if !isDecimal(number) {
			break
		}
		f, err := strconv.ParseFloat(number, 64)
		if err != nil {
			break
		}
		r := Rate(f * u.mult)
		if r < MinRate || r > MaxRate {
			return 0, fmt.Errorf("rate %q is out of range; it must lie between %v and %v", s, MinRate, MaxRate)
		}
		return r, nil
	}
	return 0, fmt.Errorf("%q is not a rate; write a number and kbit, mbit or gbit, like \"10mbit\"", s)
}

// isDecimal reports whether s is digits with at most one point between them.
// ParseFloat alone would let "1e3", "0x10" and "inf" pass.
func isDecimal(s string) bool {
	whole, frac, point := strings.Cut(s, ".")
	return isDigits(whole) && (!point || isDigits(frac))
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// BytesPerSecond returns the rate in the unit of the scheduler.
func (r Rate) BytesPerSecond() float64 { return float64(r) / 8 }

// String returns the rate as ParseRate reads it, in the largest unit that does
// not make it a fraction below one.
func (r Rate) String() string {
	for _, u := range rateUnits {
		if f := float64(r) / u.mult; f >= 1 {
			return strconv.FormatFloat(f, 'f', -1, 64) + u.name
		}
	}
	return strconv.FormatFloat(float64(r), 'f', -1, 64) + "bit"
}
