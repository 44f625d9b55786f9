package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// parse does all of Load but the private key. The Config is nil after a syntax
// error; otherwise it is as complete as the text allows, and the decoder holds
// what is wrong with it.
func parse(file string, data []byte) (*Config, *decoder) {
	d := &decoder{file: file, lines: map[string]int{}}
	root := map[string]any{}
	if _, err := toml.Decode(string(data), &root); err != nil {
		d.syntax(err)
		return nil, d
	}
	d.lines = lineIndex(string(data))
	c := &Config{File: file}
	c.readFile(d.open("", root))
	d.unknown()
	c.SetDefaults()
	if err := c.Validate(); err != nil {
		var es Errors
		errors.As(err, &es)
		d.add(es)
	}
	return c, d
}

// A decoder collects what is wrong while a file becomes a Config.
type decoder struct {
	file     string
	lines    map[string]int // of each field's path
	tables   []*table       // every table that was opened, the whole file first
	problems Errors
}

// problem notes something about a field. A field that has no line, because it
// is missing, is placed on the line of the table it should stand in.
func (d *decoder) problem(field, format string, args ...any) {
	line := 0
	for at := field; at != "" && line == 0; at = parent(at) {
		line = d.lines[at]
	}
	d.problems = append(d.problems, Problem{File: d.file, Line: line, Field: field, Text: fmt.Sprintf(format, args...)})
}

// add takes over what Validate found, except about fields that already have a
// problem: their value in the Config is not what the file says.
func (d *decoder) add(es Errors) {
	known := d.problems
	for _, e := range es {
		again := slices.ContainsFunc(known, func(p Problem) bool {
			return p.Field == e.Field || strings.HasPrefix(e.Field, p.Field+".") ||
				strings.HasPrefix(p.Field, e.Field+"[") || strings.HasPrefix(p.Field, e.Field+".")
		})
		if !again {
			d.problem(e.Field, "%s", e.Text)
		}
	}
}

// err returns the problems in the order of their lines, those without one
// last; nil when there are none.
func (d *decoder) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		return cmp.Compare(uint(a.Line-1), uint(b.Line-1)) // line 0 becomes the greatest
	})
	return d.problems
}

// syntax notes that the text is not TOML.
func (d *decoder) syntax(err error) {
	p := Problem{File: d.file, Text: "not valid TOML: " + err.Error()}
	if pe, ok := errors.AsType[toml.ParseError](err); ok {
		p.Line = max(pe.Position.Line, 1)
		text := pe.Message
		if text == "" {
			_, text, _ = strings.Cut(pe.Error(), ": ")
		}
		p.Text = "not valid TOML: " + strings.TrimSuffix(text, ".")
	}
	d.problems = append(d.problems, p)
}

// unknown notes every field that no reader has asked for, with the nearest
// name that one has.
func (d *decoder) unknown() {
	top := d.tables[0]
	for _, t := range d.tables {
		for _, name := range sortedKeys(t.m) {
			if slices.Contains(t.known, name) {
				continue
			}
			what, where := "field", ""
			if isTable(t.m[name]) {
				what = "table"
			}
			if t != top {
				where = " in " + t.title()
			}
			text := fmt.Sprintf("unknown %s %q%s", what, name, where)
			field := t.field(name)
			if best, ok := Nearest(name, t.known); ok {
				text += fmt.Sprintf("; did you mean %q?", best)
				// The problem stands for the field that was meant, so that
				// nothing complains that it is missing.
				d.lines[t.field(best)] = d.lines[field]
				field = t.field(best)
			} else if t != top && slices.Contains(top.known, name) {
				text += "; it belongs at the top of the file, before the first [table]"
			} else {
				text += "; there may be " + strings.Join(t.known, ", ")
			}
			d.problem(field, "%s", text)
		}
	}
}

// A table reads the fields of one TOML table. Whatever it is asked for becomes
// a known name.
type table struct {
	d     *decoder
	path  string // "" for the whole file, "exit", "uplink[1]"
	m     map[string]any
	known []string
}

func (d *decoder) open(path string, m map[string]any) *table {
	t := &table{d: d, path: path, m: m}
	d.tables = append(d.tables, t)
	return t
}

func (t *table) field(name string) string {
	if t.path == "" {
		return name
	}
	return t.path + "." + name
}

// title is the table's header as the file has it.
func (t *table) title() string {
	if name, _, list := strings.Cut(t.path, "["); list {
		return "[[" + name + "]]"
	}
	return "[" + t.path + "]"
}

func (t *table) get(name string) (any, bool) {
	t.known = append(t.known, name)
	v, ok := t.m[name]
	return v, ok
}

// wrong notes that a field has a value of another type than wanted.
func (t *table) wrong(name, want string, v any) {
	t.d.problem(t.field(name), "%s: want %s, found %s", t.field(name), want, typeName(v))
}

// text gives the string in a field to set, when there is one; like is an
// example for the message.
func (t *table) text(name, like string, set func(string) error) {
	v, ok := t.get(name)
	if !ok {
		return
	}
	s, ok := v.(string)
	if !ok {
		t.wrong(name, "a string like "+like, v)
		return
	}
	if err := set(s); err != nil {
		t.d.problem(t.field(name), "%s: %v", t.field(name), err)
	}
}

// texts gives each string of a field to add; the field is one string or a list.
func (t *table) texts(name, like string, add func(string) error) {
	v, ok := t.get(name)
	if !ok {
		return
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	} else if len(list) == 0 {
		t.d.problem(t.field(name), "%s: the list is empty; leave the field out or fill it in", t.field(name))
	}
	for i, v := range list {
		field := t.field(name)
		if len(list) > 1 {
			field = fmt.Sprintf("%s[%d]", field, i)
		}
		s, ok := v.(string)
		if !ok {
			t.d.problem(field, "%s: want a string like %s, or a list of such, found %s", t.field(name), like, typeName(v))
			continue
		}
		if err := add(s); err != nil {
			t.d.problem(field, "%s: %v", t.field(name), err)
		}
	}
}

func (t *table) flag(name string, to *bool) {
	v, ok := t.get(name)
	if !ok {
		return
	}
	if *to, ok = v.(bool); !ok {
		t.wrong(name, "true or false, without quotes", v)
	}
}

func (t *table) number(name, like string, to *int) {
	v, ok := t.get(name)
	if !ok {
		return
	}
	n, ok := v.(int64)
	if !ok {
		t.wrong(name, "a whole number like "+like+", without quotes", v)
		return
	}
	*to = int(max(min(n, 1<<30), -1<<30)) // far outside of every field's bounds, also where int has 32 bits
}

// table opens a field that is a table; nil when it is absent or something else.
func (t *table) table(name string) *table {
	v, ok := t.get(name)
	if !ok {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		t.d.problem(t.field(name), "%s: want a table, found %s; write [%s] on a line of its own above its fields", name, typeName(v), name)
		return nil
	}
	return t.d.open(t.field(name), m)
}

// tables opens a field that is an array of tables.
func (t *table) tables(name string) []*table {
	v, ok := t.get(name)
	if !ok {
		return nil
	}
	var out []*table
	for i, v := range listOf(v) {
		m, ok := v.(map[string]any)
		if !ok {
			t.d.problem(t.field(name), "%s: want tables, found %s; write [[%s]], with two brackets, above the fields of each %s", name, typeName(v), name, name)
			return nil
		}
		out = append(out, t.d.open(fmt.Sprintf("%s[%d]", t.field(name), i), m))
	}
	return out
}

// listOf returns the elements of an array in either shape the library gives
// it; anything that is not an array comes back as its only element, and in a
// wrapping that no reader takes for a table of the array.
func listOf(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case []map[string]any:
		out := make([]any, len(v))
		for i, m := range v {
			out[i] = m
		}
		return out
	case map[string]any:
		return []any{lone(v)}
	}
	return []any{v}
}

// lone is a table where an array of tables should stand.
type lone map[string]any

func isTable(v any) bool {
	switch v := v.(type) {
	case map[string]any, []map[string]any:
		return true
	case []any:
		return len(v) > 0 && isTable(v[0])
	}
	return false
}

// typeName says what a TOML value is, for people.
func typeName(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "a whole number"
	case float64:
		return "a number with a point"
	case bool:
		return "true or false"
	case time.Time:
		return "a date"
	case []any, []map[string]any:
		return "a list"
	case map[string]any, lone:
		return "a single table"
	}
	return "something else"
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// parent is the path of what a field stands in: "uplink[1].name" in
// "uplink[1]", that in "uplink", that in "".
func parent(field string) string {
	return field[:max(strings.LastIndexAny(field, ".["), 0)]
}
