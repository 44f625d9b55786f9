package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bondd/bondd/endpoints"
)

// restoreTime is enough to ask a gateway on this host for every uplink it may have.
const restoreTime = 10 * time.Second

// lone are the uplinks that can be measured each by itself: those in ordinary use. One that is kept back, by the configuration, a quota or an
// order, is left as it is.
func lone(st *endpoints.Status) (names []string) {
	for _, u := range st.Uplinks {
		if u.Up && u.Mode == "always" {
			names = append(names, u.Name)
		}
	}
	if len(names) < 2 {
		return nil
	}
	return names
}

// alone measures each uplink by itself, as packets. The others are backups meanwhile: should it die, the LAN still has a way out. They are back
// as configured when it returns, also when ctx has ended.
func (m *measurement) alone(ctx context.Context, names []string, progress io.Writer) (out []Transfer, err error) {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreTime)
		defer cancel()
		for _, n := range names {
			if e := endpoints.OrderPath(ctx, m.Control, n, "up"); e != nil {
				err = errors.Join(err, fmt.Errorf("uplink %s is not as configured any more; \"bondd path %s up\" mends that: %w", n, n, e))
			}
		}
	}()
	for _, name := range names {
		for _, n := range names {
			order := "backup"
			if n == name {
				order = "up"
			}
			if err := endpoints.OrderPath(ctx, m.Control, n, order); err != nil {
				return out, err
			}
		}
		for _, direction := range m.Directions {
			if ctx.Err() != nil {
				return out, context.Cause(ctx)
			}
			t := Transfer{Service: "packet", Direction: direction, Flows: m.Flows, Alone: name}
			m.take(ctx, &t, progress)
			for _, u := range t.Uplinks {
				if u.Name == name {
					t.Uplinks = []Uplink{u}
					break
				}
			}
			out = append(out, t)
		}
	}
	return out, nil
}

// gains says what the bond makes of its uplinks, for each direction in which all of them have been measured alone.
func gains(list []Transfer) (out []string) {
	for _, d := range []string{"down", "up"} {
		sum, best, name, all := 0.0, 0.0, "", true
		for _, t := range list {
			if t.Alone == "" || t.Direction != d {
				continue
			}
			if t.Mbps == nil {
				all = false
				continue
			}
			if sum += *t.Mbps; *t.Mbps > best {
				best, name = *t.Mbps, t.Alone
			}
		}
		if best == 0 || !all {
			continue
		}
		for _, t := range list {
			if t.Alone == "" && t.Direction == d && t.Mbps != nil {
				out = append(out, fmt.Sprintf("%s, %s: %.2f times the best uplink alone (%s, %.1f Mb/s), %.0f %% of the sum of all (%.1f Mb/s).",
					t.Service, d, *t.Mbps/best, name, best, *t.Mbps/sum*100, sum))
			}
		}
	}
	return out
}
