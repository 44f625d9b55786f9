package meter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Reading is what the kernel says of an interface.
type Reading struct {
	Interface string
	Ifindex   int
	Boot      string // names the boot of the machine
	Bytes     uint64 // both directions, since the interface was made
}

// Book holds the sums of all uplinks.
type Book struct {
	path    string
	entries map[string]*entry
	dirty   bool
}

// entry is one uplink's. It is what the file holds.
type entry struct {
	Period time.Time          `json:"period"` // when it began; zero: the clock was not believed yet
	Used   uint64             `json:"used_bytes"`
	Last   map[string]Reading `json:"last"` // by interface
}

// year2025 is before every clock that is right.
var year2025 = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// maxFile bounds what is read of a file, bytes.
const maxFile = 1 << 20

// Open reads the file. A file that is not there is an empty one. With an error the Book works too: it was damaged or cannot be read, and
// the count begins at zero.
func Open(path string) (*Book, error) {
	b := &Book{path: path, entries: map[string]*entry{}}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return b, nil
	case err != nil:
		return b, fmt.Errorf("read what is used of the quotas: %w", err)
	case len(data) > maxFile:
		err = errors.New("it is too long")
	default:
		err = json.Unmarshal(data, &b.entries)
	}
	for name, e := range b.entries {
		if e == nil {
			delete(b.entries, name)
		} else if e.Last == nil {
			e.Last = map[string]Reading{}
		}
	}
	if err == nil {
		return b, nil
	}
	b.entries = map[string]*entry{}
	aside := path + ".damaged"
	return b, errors.Join(fmt.Errorf("%s is damaged, and the count of the quotas begins at zero; the file is kept as %s: %w", path, aside, err), os.Rename(path, aside))
}

// Count adds a reading to the sum of name, whose period begins on that day of the month.
func (b *Book) Count(now time.Time, name string, day int, r Reading) {
	e := b.entries[name]
	if e == nil {
		e = &entry{Last: map[string]Reading{}}
		b.entries[name] = e
	}
	if now.After(year2025) {
		begin := Begin(now, day)
		switch {
		case e.Period.IsZero():
			e.Period, b.dirty = begin, true
		case begin.After(e.Period):
			e.Period, e.Used, b.dirty = begin, 0, true
		}
	}
	last, ok := e.Last[r.Interface]
	more := r.Bytes
	if ok && last.Ifindex == r.Ifindex && last.Boot == r.Boot && last.Bytes <= r.Bytes {
		more -= last.Bytes
	}
	if !ok && len(e.Last) == 0 && e.Used == 0 {
		// A quota that has just been written down: what the interface carried before belongs to no one knows which month.
		more = 0
	}
	e.Used += more
	e.Last[r.Interface] = r
	b.dirty = b.dirty || more > 0 || !ok
}

// Used is the sum of name in its period, bytes.
func (b *Book) Used(name string) uint64 {
	if e := b.entries[name]; e != nil {
		return e.Used
	}
	return 0
}

// Begin is when the period began that now lies in.
func Begin(now time.Time, day int) time.Time {
	at := func(months int) time.Time {
		first := time.Date(now.Year(), now.Month()+time.Month(months), 1, 0, 0, 0, 0, now.Location())
		last := first.AddDate(0, 1, -1).Day()
		return first.AddDate(0, 0, min(day, last)-1)
	}
	if t := at(0); !now.Before(t) {
		return t
	}
	return at(-1)
}

// Save writes the file if something has changed.
func (b *Book) Save() error {
	if !b.dirty {
		return nil
	}
	if err := b.write(); err != nil {
		return fmt.Errorf("write what is used of the quotas: %w", err)
	}
	b.dirty = false
	return nil
}

func (b *Book) write() error {
	data, err := json.MarshalIndent(b.entries, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(b.path), filepath.Base(b.path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), b.path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
