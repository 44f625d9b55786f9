package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestLineIndex(t *testing.T) {
	text := strings.TrimPrefix(`
# comment [x] = 1
role = "gateway" # a = 1
"quoted" = 'lit # eral'
text = """
[no] = table
also \""" = not
""""
exit.address = ["a", # first
  "]",

  "c"]
inline = { a = 1, b = [2, { c = 3 }] }
[exit]
  key = '''
'''
[[uplink]]
name = "x"
[uplink.deep]
y = 2001-01-01T00:00:00Z
[[uplink]]
name = "z"
[uplink.deep]
y.z = 1
`, "\n")
	want := map[string]int{
		"role": 2, "quoted": 3, "text": 4, "exit": 8, "exit.address": 8, "exit.address[0]": 8, "exit.address[1]": 9, "exit.address[2]": 11,
		"inline": 12, "inline.a": 12, "inline.b": 12, "inline.b[0]": 12, "inline.b[1]": 12, "inline.b[1].c": 12, "exit.key": 14,
		"uplink": 16, "uplink[0]": 16, "uplink[0].name": 17, "uplink[0].deep": 18, "uplink[0].deep.y": 19,
		"uplink[1]": 20, "uplink[1].name": 21, "uplink[1].deep": 22, "uplink[1].deep.y": 23, "uplink[1].deep.y.z": 23,
	}
	for _, text := range []string{text, strings.ReplaceAll(text, "\n", "\r\n")} {
		got := lineIndex(text)
		for path, line := range want {
			if got[path] != line {
				t.Errorf("%s: line %d, want %d", path, got[path], line)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d paths, want %d: %v", len(got), len(want), got)
		}
	}
}

// FuzzParse checks that no text makes the reader panic or hang, that a config
// without errors is valid and can be described, and that every key the TOML
// library finds has a line.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.toml", "../../docs/examples/*.toml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(data))
		}
	}
	f.Add("a=[[[[{b=1}]]]]")
	f.Add("a=1\n[\"\"]\nb=2") // an empty name is a name
	f.Add("role='''x'''''\nx=\"\"\"\\\n\"\"\"")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("f", []byte(text))
		if err == nil {
			if err := c.Validate(); err != nil {
				t.Errorf("parsed without error, then: %v", err)
			}
			c.Describe()
		} else if _, ok := err.(Errors); !ok {
			t.Errorf("error of type %T", err)
		}
		lines := map[string]bool{}
		for path := range lineIndex(text) {
			lines[elementNumber.ReplaceAllString(path, "")] = true
		}
		var m map[string]any
		md, err := toml.Decode(text, &m)
		if err != nil || strings.Contains(text, `\`) {
			return // an escape in a key stands in the path as it was written
		}
		for _, k := range md.Keys() {
			path := strings.Join(k, ".")
			if !lines[path] && strings.Trim(path, bareKey) == "" {
				t.Errorf("key %s has no line in %q", path, text)
			}
		}
	})
}

var elementNumber = regexp.MustCompile(`\[\d+\]`)

const bareKey = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
