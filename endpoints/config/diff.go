package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/bondd/bondd/tunnel/control"
)

// Change is one difference between two configurations.
type Change struct {
	Setting string `json:"setting"`        // path as in the file, without numbers: "log_level", "uplink.max_up"
	Of      string `json:"of,omitempty"`   // the name of the uplink or gateway it is about
	From    string `json:"from,omitempty"` // empty: was not there
	To      string `json:"to,omitempty"`   // empty: is no more
	Restart bool   `json:"restart"`        // takes a restart; set by who applies it
}

// String returns one line: a sign as diff has it, the setting, and the values.
func (c Change) String() string {
	what := c.Setting
	if c.Of != "" {
		table, field, inside := strings.Cut(c.Setting, ".")
		what = fmt.Sprintf("%s %q", table, c.Of)
		if inside {
			what += " " + field
		}
	}
	s := ""
	switch {
	case c.From == "":
		s = "+ " + what + ": " + c.To
	case c.To == "":
		s = "- " + what + ": " + c.From
	default:
		s = "~ " + what + ": " + c.From + " -> " + c.To
	}
	if c.Restart {
		s += " (takes a restart)"
	}
	return s
}

// Diff lists what is different in b, in the order of the fields of Config. It finds every field by reflection, so that one that is new in
// Config cannot be forgotten here.
func Diff(a, b *Config) []Change {
	var out []Change
	diffStruct(&out, "", "", reflect.ValueOf(*a), reflect.ValueOf(*b))
	return out
}

// settings are the fields that the file calls otherwise than their name here in lower case. A name that begins with "!" is
// the opposite of the field.
var settings = map[string]string{
	"File":       "", // where it was read is not a setting
	"PrivateKey": "private_key_file", "Uplinks": "uplink", "Gateways": "gateway", "Forwards": "forward", "Rules": "rule",
	"Exit.Addresses": "exit.address", "Exit.Apart": "!exit.failover",
	"Others": "exit", "Others.Addresses": "exit.address", "Others.Apart": "!exit.failover",
	"Bypass.Prefixes":     "bypass.cidr",
	"Stream.InterceptOff": "!stream.intercept", "Stream.Off": "!stream.enable",
}

func diffStruct(out *[]Change, path, of string, a, b reflect.Value) {
	for i := range a.NumField() {
		at := a.Type().Field(i).Name
		if path != "" {
			at = path + "." + at
		}
		diffValue(out, at, of, a.Field(i), b.Field(i))
	}
}

func diffValue(out *[]Change, path, of string, a, b reflect.Value) {
	setting, known := settings[path]
	if !known {
		top, rest, inside := strings.Cut(path, ".")
		if list, ok := settings[top]; ok && inside {
			top = list
		}
		setting = snake(strings.TrimSuffix(top+"."+rest, "."))
	}
	if setting == "" || reflect.DeepEqual(a.Interface(), b.Interface()) {
		return
	}
	add := func(of, from, to string) { *out = append(*out, Change{Setting: setting, Of: of, From: from, To: to}) }
	_, text := a.Interface().(fmt.Stringer)
	switch {
	case a.Kind() == reflect.Struct && !text:
		diffStruct(out, path, of, a, b)
	case a.Kind() == reflect.Slice && identified(a.Type().Elem()):
		for i := range a.Len() {
			if e := a.Index(i); !find(b, e).IsValid() {
				add(nameOf(e), describe(e), "")
			}
		}
		for i := range b.Len() {
			if e, old := b.Index(i), find(a, b.Index(i)); old.IsValid() {
				diffStruct(out, path, nameOf(e), old, e)
			} else {
				add(nameOf(e), "", describe(e))
			}
		}
	default:
		from, to := describe(a), describe(b)
		if rest, opposite := strings.CutPrefix(setting, "!"); opposite {
			setting, from, to = rest, to, from // of a truth value
		}
		add(of, from, to)
	}
}

// identities are the fields by which an entry of a list is the same one as before.
var identities = []string{"Interface", "Key", "Name"}

func identified(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && slices.ContainsFunc(identities, func(n string) bool { _, ok := t.FieldByName(n); return ok })
}

// find returns the entry of a list that is the same one as e, or the zero Value.
func find(list, e reflect.Value) reflect.Value {
	for _, n := range identities {
		id := e.FieldByName(n)
		if !id.IsValid() {
			continue
		}
		for i := range list.Len() {
			if reflect.DeepEqual(list.Index(i).FieldByName(n).Interface(), id.Interface()) {
				return list.Index(i)
			}
		}
		break
	}
	return reflect.Value{}
}

func nameOf(e reflect.Value) string {
	if n := e.FieldByName("Name"); n.IsValid() && n.String() != "" {
		return n.String()
	}
	return fmt.Sprint(e.FieldByName("Interface"))
}

// describe writes a value for people. It never shows a private key.
func describe(v reflect.Value) string {
	if v.Kind() == reflect.Float64 && v.IsZero() {
		return "none" // a rate
	}
	switch x := v.Interface().(type) {
	case control.PrivateKey:
		return "the key of " + x.Public().String()
	case fmt.Stringer:
		return quoteEmpty(x.String())
	case string:
		return quoteEmpty(x)
	}
	switch v.Kind() {
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = describe(v.Index(i))
		}
		if len(parts) == 0 {
			return "none"
		}
		return strings.Join(parts, ", ")
	case reflect.Struct:
		var parts []string
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsZero() {
				parts = append(parts, snake(v.Type().Field(i).Name)+" "+describe(f))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return quoteEmpty(fmt.Sprint(v))
}

func quoteEmpty(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// snake writes the name of a field as the file does: MaxUp as max_up, IPv4 as ipv4, HTTP as http.
func snake(name string) string {
	var b strings.Builder
	lower := false
	for _, r := range name {
		if unicode.IsUpper(r) && lower {
			b.WriteByte('_')
		}
		lower = unicode.IsLower(r) || unicode.IsDigit(r)
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
