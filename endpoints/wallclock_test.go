package endpoints

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bondd/bondd/endpoints/config"
	"github.com/bondd/bondd/endpoints/meter"
)

// calendarTest is the calendar and the counters of a gateway's machine. The calendar goes on with the bubble's time, from wherever it is set to.
type calendarTest struct {
	mu      sync.Mutex
	says    time.Time
	setAt   time.Time
	boot    string
	carried uint64
}

func (c *calendarTest) wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.says.Add(time.Since(c.setAt))
}

func (c *calendarTest) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.says, c.setAt = t, time.Now()
}

func (c *calendarTest) traffic(device string) (meter.Reading, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return meter.Reading{Interface: device, Ifindex: 7, Boot: c.boot, Bytes: c.carried}, nil
}

// reboot makes another boot of the machine, which has carried nothing.
func (c *calendarTest) reboot(t time.Time) {
	c.set(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.boot, c.carried = c.boot+"x", 0
}

func (c *calendarTest) carry(bytes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.carried += bytes
}

// A box without a battery boots in 1970, with half of its quota used up in March. The session is there before the right time is; when NTP sets the
// clock, by 56 years, nobody notices, and the month's count has gone on. Whatever else takes a time takes the difference of two readings: cmd/bondd
// TestCalendar. TLS: tunnel/control TestWallClockDoesNotMatter.
func TestBootIn1970(t *testing.T) {
	dir, then := t.TempDir(), time.Unix(30, 0)
	march := time.Date(2026, 3, 30, 12, 0, 0, 0, time.Local)
	book := fmt.Sprintf(`{"two":{"period":%q,"used_bytes":500000,"last":{"two":{"Interface":"two","Ifindex":7,"Boot":"before","Bytes":7000000}}}}`,
		time.Date(2026, 3, 1, 0, 0, 0, 0, time.Local).Format(time.RFC3339))
	if err := os.WriteFile(filepath.Join(dir, quotaFile), []byte(book), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &calendarTest{boot: "x"}
	inWorld(t, func(w *world) {
		c.set(then)
		w.gateway.cfg.StateDir = dir
		w.gateway.cfg.Uplinks = []config.Uplink{{Interface: "one", Quota: config.Quota{Bytes: 1e12, Day: 1, Then: config.QuotaOff}},
			{Interface: "two", Quota: config.Quota{Bytes: 1e6, Day: 1, Then: config.QuotaOff}}}
		w.gateway.h.wall, w.gateway.h.traffic = c.wall, c.traffic
	}, func(w *world) {
		used := func(when string, want uint64) {
			t.Helper()
			time.Sleep(2 * meterEvery)
			if got := w.gateway.status().Uplinks[1].Used; got != want {
				t.Errorf("%s: %d bytes of the quota are used, want %d", when, got, want)
			}
		}
		defer w.exit.dialer.wg.Wait()
		if took := w.waitEcho(5 * time.Second); took > time.Second {
			t.Errorf("in 1970 the first echo came after %v", took)
		}
		used("at first", 500_000)
		c.carry(100_000)
		used("in 1970", 600_000)
		stream := w.open(w.exit.dialer.at(80, echoServer))
		say := func(when, text string) {
			t.Helper()
			io.WriteString(stream, text)
			got := make([]byte, len(text))
			if _, err := io.ReadFull(stream, got); err != nil || string(got) != text {
				t.Errorf("%s: the connection answers %q, %v", when, got, err)
			}
		}
		say("in 1970", "what year is it?")

		before := w.gateway.status()
		c.set(march)
		for i := range uint32(200) { // ten seconds, all of what runs by itself among them
			if rtt, ok := w.echo(i, time.Second); !ok || rtt > 30*time.Millisecond {
				t.Errorf("echo %d after the clock was set: came back %v, after %v", i, ok, rtt)
			}
			time.Sleep(30 * time.Millisecond)
		}
		say("when the clock is set", "so late")
		c.carry(100_000)
		used("when the clock is set", 700_000)
		if got := w.gateway.status().Uplinks[0].Used; got != 200_000 { // of which half in 1970
			t.Errorf("a quota that is new has %d bytes used, want 200000", got)
		}
		after := w.gateway.status()
		if took := after.Uptime - before.Uptime; took < 10 || took > 60 {
			t.Errorf("the uptime has grown by %v s over a step of the calendar", took)
		}
		if n := w.exit.log.count("gateway connected"); n != 1 {
			t.Errorf("the gateway connected %d times", n)
		}
		if n := w.gateway.log.count("path down"); n != 0 {
			t.Errorf("%d paths went down", n)
		}
		stream.CloseWrite()
		io.ReadAll(stream)
		stream.Close()

		// It is used up, and stays so when the machine comes back in 1970, until a month begins.
		c.carry(400_000)
		used("used up", 1_100_000)
		w.wantPaths("used up", "one up")
		w.ended(w.gateway)
		c.reboot(then)
		w.gateway.start()
		w.waitEcho(5 * time.Second)
		used("booted in 1970 again", 1_100_000)
		w.wantPaths("booted in 1970 again", "one up")
		c.set(march.AddDate(0, 0, 1))
		used("still March", 1_100_000)
		w.wantPaths("still March", "one up")
		c.set(march.AddDate(0, 0, 2))
		used("April", 0)
		w.wantPaths("April", "one up, two up")
	})
}
