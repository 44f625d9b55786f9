package endpoints

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bondd/bondd/endpoints/config"
)

// pathPath is where the control socket takes an order about an uplink or a path.
const pathPath = "/v1/path"

// PathActions are what can be asked of an uplink or a path. "up" takes it back to what the configuration says.
var PathActions = []string{"up", "down", "drain", "backup"}

// pathOrder is what "bondd path" asks of a gateway.
type pathOrder struct {
	name, action string
	done         chan error
}

// takeOrders makes the control socket take orders.
func (g *gateway) takeOrders(mux *http.ServeMux) {
	mux.HandleFunc("POST "+pathPath, func(w http.ResponseWriter, r *http.Request) {
		o := pathOrder{r.FormValue("name"), r.FormValue("action"), make(chan error, 1)}
		err := errors.New("bondd is ending")
		select {
		case g.orders <- o:
			err = <-o.done
		case <-r.Context().Done():
		}
		text := "ok"
		if err != nil {
			text = err.Error()
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
		_ = json.NewEncoder(w).Encode(text) // fails when the asker has gone
	})
}

// obey carries out an order. It holds until the next one, or until bondd ends.
func (g *gateway) obey(ctx context.Context, o pathOrder) error {
	configured := map[string]config.Mode{} // by name of an uplink or a path
	for _, u := range g.uses.seen.Uplinks {
		e := g.entry(u)
		configured[e.Name] = e.Mode
		for _, w := range g.ways {
			for _, r := range w.remotes.list {
				if name := w.pathName(e.Name, r); name != e.Name {
					configured[name] = config.ModeAlways
				}
			}
		}
	}
	if _, ok := configured[o.name]; !ok {
		return fmt.Errorf("there is no uplink or path %q; there are %s", o.name, strings.Join(slices.Sorted(maps.Keys(configured)), ", "))
	}
	switch o.action {
	case "up":
		delete(g.uses.asked, o.name)
		if configured[o.name] == config.ModeOff || configured[o.name] == config.ModeDrain {
			g.uses.asked[o.name] = config.ModeAlways
		}
	case "down":
		g.uses.asked[o.name] = config.ModeOff
	case "drain":
		g.uses.asked[o.name] = config.ModeDrain
	case "backup":
		g.uses.asked[o.name] = config.ModeBackup
	default:
		return fmt.Errorf("an uplink cannot be asked to %q; choose one of %s", o.action, strings.Join(PathActions, ", "))
	}
	g.log.Info("uplink or path asked", "name", o.name, "to", o.action)
	g.changed(ctx, g.uses.seen)
	return nil
}

// OrderPath asks the gateway whose control socket is at path to take an uplink or a path, by its name, into or out of use. Actions are
// those of PathActions. Errors are as those of ReadStatus, or what the gateway says.
func OrderPath(ctx context.Context, path, name, action string) error {
	return orderPath(ctx, path, name, action, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	})
}

func orderPath(ctx context.Context, path, name, action string, dial func(ctx context.Context) (net.Conn, error)) error {
	client := http.Client{Timeout: requestTime, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
	form := url.Values{"name": {name}, "action": {action}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bondd"+pathPath, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return askError(path, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusNotFound:
		return fmt.Errorf("the bondd at %s is not a gateway and has no uplinks", path)
	}
	var text string
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxStatus)).Decode(&text); err != nil {
		return fmt.Errorf("ask the bondd at %s: it answers %s", path, resp.Status)
	}
	return errors.New(text)
}
