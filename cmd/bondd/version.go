package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
)

var versionCommand = &command{
	name:  "version",
	short: "print the version",
	long:  "Prints the version of bondd, the revision it was built from where that is known,\nand of Go.",
	run: func(_ context.Context, c *invocation) int {
		if code, ok := c.parse(0, func(*flag.FlagSet) {}); !ok {
			return code
		}
		info, ok := debug.ReadBuildInfo()
		if !ok {
			info = &debug.BuildInfo{}
		}
		fmt.Fprintln(c.out, versionLine(info))
		return exitOK
	},
}

// versionLine is "bondd VERSION (REVISION) GO OS/ARCH"; the revision is there
// for a binary built out of a working copy.
func versionLine(info *debug.BuildInfo) string {
	version := info.Main.Version
	if version == "" || version == "(devel)" {
		version = "devel"
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = ", modified"
		}
	}
	if revision != "" {
		version += " (" + revision[:min(len(revision), 12)] + modified + ")"
	}
	return fmt.Sprintf("bondd %s %s %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
