package config

import (
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File  string // empty for a Config that was made by a program
	Line  int    // counted from 1; 0 when it belongs to no line, like a missing field
	Field string // path of the field: "exit.key", "uplink[1].max_up"; empty for the whole file
	Text  string // one sentence: what is wrong and what to do
}

// String returns "FILE:LINE: text", without the parts that are not known.
func (p Problem) String() string {
	switch {
	case p.File == "":
		return p.Text
	case p.Line == 0:
		return p.File + ": " + p.Text
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ": " + p.Text
}

// Errors is everything that is wrong with a configuration, in the order of the
// lines.
type Errors []Problem

// Error returns one line for each problem.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}
