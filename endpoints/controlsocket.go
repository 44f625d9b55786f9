package endpoints

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	// statusPath is where the control socket answers with a Status.
	statusPath = "/v1/status"
	// maxStatus bounds what ReadStatus takes from the other side, in bytes: an exit with a thousand sessions of eight paths.
	maxStatus = 16 << 20
	// requestTime bounds a request to the control socket, both ways.
	requestTime = 5 * time.Second
)

// controlServer answers on the control socket.
type controlServer struct {
	http *http.Server
	wg   sync.WaitGroup
}

// openControl makes the control socket. A node works without it, so that it cannot be made is only said.
func (n *node) openControl(report func(context.Context) *Status, more ...func(*http.ServeMux)) phase {
	return phase{"control socket",
		func(context.Context) error {
			if n.cfg.Control == "" {
				return nil
			}
			l, err := n.host.listenUnix(n.cfg.Control)
			if err != nil {
				n.log.Warn("\"bondd status\" will not work", "error", err)
				return nil
			}
			n.control = serveControl(l, report, more...)
			return nil
		},
		func(context.Context) error {
			if n.control == nil {
				return nil
			}
			return n.control.close()
		},
	}
}

// serveControl takes l and answers on it until close.
func serveControl(l net.Listener, report func(context.Context) *Status, more ...func(*http.ServeMux)) *controlServer {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+statusPath, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(report(r.Context())) // fails when the asker has gone
	})
	for _, f := range more {
		f(mux)
	}
	c := &controlServer{http: &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: requestTime,
		WriteTimeout:      requestTime,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}}
	c.wg.Go(func() { // joined by close
		_ = c.http.Serve(l) // ends with the listener
	})
	return c
}

func (c *controlServer) close() error {
	err := c.http.Close()
	c.wg.Wait()
	return err
}

// ReadStatus asks the node whose control socket is at path. The error matches fs.ErrPermission when this user may not
// ask it.
func ReadStatus(ctx context.Context, path string) (*Status, error) {
	return readStatus(ctx, path, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	})
}

func readStatus(ctx context.Context, path string, dial func(ctx context.Context) (net.Conn, error)) (*Status, error) {
	client := http.Client{
		Timeout: requestTime,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://bondd"+statusPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, askError(path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask the bondd at %s: it answers %s", path, resp.Status)
	}
	st := new(Status)
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxStatus)).Decode(st); err != nil {
		return nil, fmt.Errorf("ask the bondd at %s: not a status: %w", path, err)
	}
	return st, nil
}

// askError says why the control socket at path could not be asked.
func askError(path string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("no bondd answers at %s; is it running, with that control socket?", path)
	}
	return fmt.Errorf("ask the bondd at %s: %w", path, err)
}
