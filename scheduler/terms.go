package scheduler

import "time"

const (
	// A backup that helps out joins when the others have been full for fullAfter, and leaves when they have not been for fullFor: a burst is no
	// reason to wake a modem that costs money, and one that is awake is not sent to sleep between two pictures of a page.
	fullAfter = 3 * time.Second
	fullFor   = 10 * time.Second
	// passiveProbe is how long the end of a metered path that hears the other's probes waits before it sends one itself: longer than
	// probeMetered, so that of two idle ends one probes and the other answers.
	passiveProbe = probeMetered + probeMetered/10
)

// Terms are what of a PathConfig may change while the path lives.
type Terms struct {
	Backup  bool
	Full    bool // a backup also carries data while all others are full
	Drain   bool // takes nothing new, whatever else there is
	Metered bool
}

// SetTerms changes how the path is used.
func (b *Bond) SetTerms(now time.Duration, p *Path, t Terms) {
	p.Config.Backup, p.Config.Full, p.Config.Drain, p.Config.Metered = t.Backup, t.Full, t.Drain, t.Metered
	b.refresh(now)
}

// SetMaxRate changes the cap, in bytes/s; 0 removes it.
func (p *Path) SetMaxRate(rate float64) {
	p.Config.MaxRate = rate
	p.ctl.SetMaxRate(rate)
}

// fullness tells whether the paths in use have been full for long. It looks once per refresh.
type fullness struct {
	since time.Duration // they have been full at every look since then
	last  time.Duration // they were full
	seen  bool          // since is valid
	full  bool
}

// look notes whether more waits than the paths in use can carry now.
func (f *fullness) look(now time.Duration, waiting bool) {
	if waiting {
		if !f.seen {
			f.since, f.seen = now, true
		}
		f.last = now
		f.full = f.full || now-f.since >= fullAfter
		return
	}
	f.seen = false
	f.full = f.full && now-f.last < fullFor
}

// mayCarry reports whether the configuration lets p carry data. primary says that a path that is no backup is up.
func (b *Bond) mayCarry(p *Path, primary bool) bool {
	if p.Config.Drain {
		return false
	}
	return !primary || !p.Config.Backup || p.Config.Full && b.fullness.full
}
