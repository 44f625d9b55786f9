package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"
)

// A box without a battery boots in 1970, and its clock is set while bondd runs: by 56 years at once. What is measured with the difference of two
// readings does not notice, because time.Time has the monotonic clock with it. So the calendar is for one room alone, endpoints/meter, which
// is told it and knows how far to believe it; and nobody else may look at what is written on a time.Time, or take the monotonic clock from it.
// Logs are stamped by log/slog.
//
// The clock of the machine is the same in all namespaces (time_namespaces(7) has the monotonic ones only), so no test can set it.

// calendarRoom is the one that may.
const calendarRoom = "endpoints/meter"

// calendarMethods are the methods of time.Time that tell what is on the calendar, or lose the monotonic clock.
var calendarMethods = []string{
	"AddDate", "AppendFormat", "Clock", "Date", "Day", "Format", "GoString", "Hour", "ISOWeek", "In", "Local", "MarshalBinary", "MarshalJSON", "MarshalText",
	"Minute", "Month", "Nanosecond", "Round", "Second", "String", "Truncate", "UTC", "Unix", "UnixMicro", "UnixMilli", "UnixNano", "Weekday", "Year", "YearDay", "Zone",
}

// checkCalendar looks for the calendar in a package.
func checkCalendar(fset *token.FileSet, files []*ast.File, info *types.Info) []finding {
	var out []finding
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok {
				return true
			}
			m, ok := info.Uses[id].(*types.Func)
			if !ok || m.Pkg() == nil || m.Pkg().Path() != "time" || m.Signature().Recv() == nil || !slices.Contains(calendarMethods, m.Name()) {
				return true
			}
			if strings.TrimPrefix(m.Signature().Recv().Type().String(), "*") == "time.Time" {
				out = append(out, finding{fset.Position(id.Pos()),
					fmt.Sprintf("Time.%s asks the calendar, and the clock may be wrong by 56 years; use differences, or do it in %s", m.Name(), calendarRoom)})
			}
			return true
		})
	}
	return out
}

// TestCalendar holds all that a node runs to it.
func TestCalendar(t *testing.T) {
	list := goList(t, "-export", "./cmd/...", "./endpoints/...", "./tunnel/...", "./scheduler/...")
	fset := token.NewFileSet()
	imp := exports(fset, list)
	used := false
	for _, p := range list {
		path, own := p.path()
		if !own || strings.HasPrefix(path, "bench") {
			continue
		}
		files, info := checked(t, fset, p, imp)
		found := checkCalendar(fset, files, info)
		if path == calendarRoom {
			used = len(found) > 0
			continue
		}
		report(t, found)
	}
	if !used {
		t.Errorf("%s does not ask the calendar, so this test sees nothing", calendarRoom)
	}
}
