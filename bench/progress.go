package bench

import (
	"fmt"
	"io"
	"time"
)

// clock says how much of a report is done. It knows what the steps take, so it
// needs no clock of its own.
type clock struct {
	w           io.Writer
	total, done time.Duration
}

func (c *clock) say(text string) {
	left := max(0, c.total-c.done).Round(time.Second)
	fmt.Fprintf(c.w, "[%3.0f %%, %v left] %s\n", 100*c.done.Seconds()/max(1, c.total.Seconds()), left, text)
}
