package bench

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// choice is what the measuring commands have in common: what to measure, for how
// long, and how to report it.
type choice struct {
	sets       []Set
	plain      bool // the plain set instead of sets
	services   []string
	directions []string
	flows      []int
	faults     []string
	transfers  bool
	duration   time.Duration
	settle     time.Duration
	seed       uint64
	asJSON     bool
	markdown   bool
	html       string
	verbose    bool
	given      map[string]bool // the flags on the command line
}

// flagSpec is in what the flags of a command differ.
type flagSpec struct {
	command, usage string
	sets           string   // default
	services       []string // there are
	service        string   // default
	faults         []string // there are
	faultText      string
	duration       time.Duration                                 // default
	virtual        string                                        // "virtual " where time is simulated
	find           func(list string, seed uint64) ([]Set, error) // resolves the names of sets; nil: FindSets
	plain          bool                                          // the set "plain" may be asked for
	own            func(*flag.FlagSet)
	shorten        func(*choice) // applies what shortens a run; may be nil
}

// wrongUsage is an error in the command line.
func wrongUsage(format string, a ...any) error { return fmt.Errorf(format, a...) }

// parse reads a command line. With done the command ends with the code.
func (s flagSpec) parse(args []string, stdout, stderr io.Writer) (c choice, code int, done bool) {
	f := flag.NewFlagSet("bondd "+s.command, flag.ContinueOnError)
	var (
		list      = f.Bool("list", false, "list the sets and end")
		sets      = f.String("set", s.sets, "sets to measure, separated by commas, or \"all\"")
		service   = f.String("service", s.service, "services that carry the traffic, separated by commas: "+strings.Join(s.services, ", ")+"; or \"all\"")
		direction = f.String("direction", "both", "down (server to LAN), up, or both")
		flows     = f.String("flows", "1", "parallel flows; several numbers, separated by commas, are measured one after the other")
		faults    = f.String("faults", "cut", "what breaks during further transfers, separated by commas: "+s.faultText+"; \"all\" or \"none\"")
	)
	f.BoolVar(&c.transfers, "transfers", false, "measure short downloads too: 50 kB and 1 MB, and small requests beside a bulk download")
	f.DurationVar(&c.duration, "duration", s.duration, s.virtual+"time that counts of each transfer")
	f.DurationVar(&c.settle, "settle", 4*time.Second, s.virtual+"time before it; satellites get at least 10s")
	f.BoolVar(&c.asJSON, "json", false, "print one JSON object instead of the table")
	f.BoolVar(&c.markdown, "markdown", false, "print the table as \"bondd bench doc\" puts it into a page")
	f.StringVar(&c.html, "html", "", "also write a page with plots to this file")
	f.Uint64Var(&c.seed, "seed", 1, "of everything that is left to chance")
	f.BoolVar(&c.verbose, "verbose", false, "show what is said inside")
	s.own(f)
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, s.usage); f.PrintDefaults() }
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return c, exitOK, true
	} else if err != nil {
		return c, exitUsage, true
	}
	if *list {
		writeSets(stdout)
		return c, exitOK, true
	}
	c.given = map[string]bool{}
	f.Visit(func(x *flag.Flag) { c.given[x.Name] = true })
	err := func() (err error) {
		if f.NArg() > 0 {
			return wrongUsage("unexpected argument %q; everything is a flag", f.Arg(0))
		}
		if s.find == nil {
			s.find = func(list string, _ uint64) ([]Set, error) { return FindSets(list) }
		}
		if c.plain = s.plain && *sets == plainSet; !c.plain {
			if c.sets, err = s.find(*sets, c.seed); err != nil {
				return err
			}
		}
		if c.services, err = oneOf("service", *service, s.services); err != nil {
			return err
		}
		if c.faults, err = oneOf("fault", *faults, s.faults); err != nil {
			return err
		}
		switch *direction {
		case "down", "up":
			c.directions = []string{*direction}
		case "both":
			c.directions = []string{"down", "up"}
		default:
			return wrongUsage("direction is %q; it is down, up or both", *direction)
		}
		if c.transfers && *direction == "up" {
			return wrongUsage("transfers are downloads; direction is up")
		}
		for text := range strings.SplitSeq(*flows, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil || n < 1 || n > 1000 {
				return wrongUsage("flows is %s; it is numbers of 1 to 1000", *flows)
			}
			c.flows = append(c.flows, n)
		}
		if s.shorten != nil {
			s.shorten(&c)
		}
		if c.duration < time.Second || c.duration > 10*time.Minute || c.settle < 0 || c.settle > 10*time.Minute {
			return wrongUsage("duration is 1s to 10m, settle at most 10m")
		}
		return nil
	}()
	if err != nil {
		fmt.Fprintf(stderr, "bondd %s: %v\n", s.command, err)
		return c, exitUsage, true
	}
	return c, exitOK, false
}

// oneOf resolves a list of words out of those there are; "all" and "none" are
// what they say.
func oneOf(what, list string, there []string) ([]string, error) {
	switch list {
	case "all":
		return there, nil
	case "none", "":
		return nil, nil
	}
	var out []string
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		if !slices.Contains(there, word) {
			return nil, wrongUsage("there is no %s %q; there is %s", what, word, strings.Join(there, ", "))
		}
		if !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return out, nil
}
