package endpoints

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	var h health
	now := time.Duration(0)
	var trail []string
	run := func(seconds int, f facts) {
		for range seconds {
			now += time.Second
			if h.see(now, f) {
				trail = append(trail, fmt.Sprintf("%v %v", now.Seconds(), h.state))
			}
		}
	}
	want := func(what, s string) {
		t.Helper()
		if got := strings.Join(trail, ", "); got != s {
			t.Errorf("%s: %q, want %q", what, got, s)
		}
		trail = nil
	}
	alone := facts{link: true}
	run(100, alone)
	want("an exit that nobody reaches says nothing about a line", "")
	good := facts{link: true, answers: true, others: true, sessionID: 1}
	run(10, good)
	want("a path answers", "101 up")
	dead := facts{link: true, others: true, sessionID: 1}
	run(4, dead)
	run(1, good)
	want("a flap is nothing", "")
	run(10, dead)
	want("dead with its link up", "121 down")
	run(10, good)
	want("back", "126 up")
	run(3, facts{sessionID: 1})
	want("no link, at once", "136 down")
	run(1, good)
	want("link", "139 up")
	run(20, alone)
	want("all silent, without a target", "")
	tell := alone
	tell.probed, tell.probeOK = true, true
	run(10, tell)
	want("all silent, the target answers", "")
	tell.probeOK = false
	run(10, tell)
	want("all silent, and the target too", "170 down")
	tell.probeOK = true
	run(3, tell)
	want("the target answers again", "180 up")
	tell.others = true
	run(3, tell)
	want("others reach the exit, it does not", "183 degraded")
	run(1, good)
	want("well again", "186 up")

	f := good
	for range 40 {
		f.sent, f.lost = f.sent+50, f.lost+8
		run(1, f)
	}
	if len(trail) != 1 || !strings.HasSuffix(trail[0], "degraded") {
		t.Errorf("with 16 %% lost: %q", trail)
	}
	trail = nil
	for range 25 {
		f.sent, f.lost = f.sent+50, f.lost+1
		run(1, f)
	}
	if len(trail) != 1 || !strings.HasSuffix(trail[0], "up") {
		t.Errorf("with 2 %% lost: %q", trail)
	}
	trail = nil
	for range 3 {
		f.failures++
		run(5, f)
	}
	if len(trail) != 1 || !strings.HasSuffix(trail[0], "degraded") {
		t.Errorf("three failures: %q", trail)
	}
	run(70, f)
	f = facts{link: true, answers: true, others: true, sessionID: 2, sent: 5}
	run(70, f)
	if len(trail) != 2 || h.state != healthUp {
		t.Errorf("a quiet minute, and a new session: %q", trail)
	}
}
