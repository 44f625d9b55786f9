package config

import (
	"fmt"
	"strings"
)

// lineIndex returns the line, from 1, of every key and table of a TOML text,
// and of every element of an array, by its path: "role", "exit.key",
// "uplink[1].max_up", "exit.address[0]". The TOML library keeps positions to
// itself except in syntax errors.
//
// The text has been parsed by the library before, so it is TOML; on anything
// else the index is incomplete or wrong, and nothing worse. A key in quotes
// stands in the path without them, escapes as written.
func lineIndex(text string) map[string]int {
	s := &lineScanner{text: text, line: 1, lines: map[string]int{}, counts: map[string]int{}}
	at := root // path of the table whose fields follow
	for {
		s.space(true)
		switch {
		case s.end():
			return s.lines
		case s.take("[["):
			at = s.header(true)
			s.take("]]")
		case s.take("["):
			at = s.header(false)
			s.take("]")
		default:
			before := s.pos
			s.pair(at)
			if s.pos == before {
				s.skip() // not TOML: go on behind it
			}
		}
	}
}

// root is the path of the whole text. It is not "", which is a key that TOML allows.
const root = "\x00"

type lineScanner struct {
	text   string
	pos    int // offset of the next byte
	line   int // of that byte, from 1
	lines  map[string]int
	counts map[string]int // tables seen in each array of tables
	depth  int            // of nested values
}

// maxDepth bounds the recursion on nested values.
const maxDepth = 64

func (s *lineScanner) end() bool { return s.pos >= len(s.text) }

func (s *lineScanner) peek() byte {
	if s.end() {
		return 0
	}
	return s.text[s.pos]
}

func (s *lineScanner) skip() {
	if !s.end() {
		if s.text[s.pos] == '\n' {
			s.line++
		}
		s.pos++
	}
}

func (s *lineScanner) take(token string) bool {
	if !strings.HasPrefix(s.text[s.pos:], token) {
		return false
	}
	for range len(token) {
		s.skip()
	}
	return true
}

// space skips blanks, and with lines also line ends and comments.
func (s *lineScanner) space(lines bool) {
	for !s.end() {
		switch c := s.peek(); {
		case c == ' ' || c == '\t' || lines && (c == '\r' || c == '\n'):
			s.skip()
		case lines && c == '#':
			for !s.end() && s.peek() != '\n' {
				s.skip()
			}
		default:
			return
		}
	}
}

// note keeps the first line of a path.
func (s *lineScanner) note(path string, line int) {
	if _, ok := s.lines[path]; !ok {
		s.lines[path] = line
	}
}

// header reads the key of a table header and returns the path of the table it
// opens. Names before the last that are arrays of tables stand for their
// newest table.
func (s *lineScanner) header(list bool) string {
	line, names, path := s.line, s.key(), root
	for i, name := range names {
		path = join(path, name)
		s.note(path, line)
		n := s.counts[path]
		if list && i == len(names)-1 {
			s.counts[path] = n + 1
			path = fmt.Sprintf("%s[%d]", path, n)
			s.note(path, line)
		} else if n > 0 {
			path = fmt.Sprintf("%s[%d]", path, n-1)
		}
	}
	return path
}

// pair reads "key = value".
func (s *lineScanner) pair(at string) {
	line := s.line
	for _, name := range s.key() {
		at = join(at, name)
		s.note(at, line)
	}
	s.space(false)
	if s.take("=") {
		s.space(false)
		s.value(at)
	}
}

// key reads a key with its dots and returns the names in it.
func (s *lineScanner) key() []string {
	var names []string
	for {
		s.space(false)
		from := s.pos
		switch c := s.peek(); c {
		case '"', '\'':
			s.quoted(c)
			names = append(names, strings.Trim(s.text[from:s.pos], string(c)))
		default:
			for isBare(s.peek()) {
				s.skip()
			}
			if s.pos == from {
				return names
			}
			names = append(names, s.text[from:s.pos])
		}
		s.space(false)
		if !s.take(".") {
			return names
		}
	}
}

// value reads a value that belongs to the path at.
func (s *lineScanner) value(at string) {
	if s.depth++; s.depth > maxDepth {
		s.pos = len(s.text)
	}
	defer func() { s.depth-- }()
	switch c := s.peek(); c {
	case '"', '\'':
		if !s.multiline(strings.Repeat(string(c), 3)) {
			s.quoted(c)
		}
	case '[':
		s.skip()
		for i := 0; ; i++ {
			s.space(true)
			if s.end() || s.take("]") {
				return
			}
			path := fmt.Sprintf("%s[%d]", at, i)
			s.note(path, s.line)
			s.value(path)
			s.space(true)
			if !s.take(",") && s.peek() != ']' {
				s.skip() // not TOML
			}
		}
	case '{':
		s.skip()
		for {
			s.space(true)
			if s.end() || s.take("}") {
				return
			}
			before := s.pos
			s.pair(at)
			s.space(true)
			if !s.take(",") && s.pos == before {
				s.skip() // not TOML
			}
		}
	default: // a number, a date, true or false
		for !s.end() && !strings.ContainsRune(",]}#\r\n", rune(s.peek())) {
			s.skip()
		}
	}
}

// multiline reads a string in three quotes. As many as two more quotes at its
// end belong to it.
func (s *lineScanner) multiline(quotes string) bool {
	if !s.take(quotes) {
		return false
	}
	for !s.end() && !s.take(quotes) {
		if s.peek() == '\\' && quotes[0] == '"' {
			s.skip()
		}
		s.skip()
	}
	for range 2 {
		s.take(quotes[:1])
	}
	return true
}

// quoted reads a string in one pair of quotes.
func (s *lineScanner) quoted(quote byte) {
	s.skip()
	for !s.end() && s.peek() != quote && s.peek() != '\n' {
		if s.peek() == '\\' && quote == '"' {
			s.skip()
		}
		s.skip()
	}
	if s.peek() == quote {
		s.skip()
	}
}

func isBare(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

func join(path, name string) string {
	if path == root {
		return name
	}
	return path + "." + name
}
