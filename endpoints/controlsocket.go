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
	// statusPath is where the control socket answers with a Status, reloadPath where it is asked for a Reload.
	statusPath = "/v1/status"
	reloadPath = "/v1/reload"
	// maxStatus bounds what ReadStatus takes from the other side, in bytes: an exit with a thousand sessions of eight paths.
	maxStatus = 16 << 20
	// requestTime bounds a request to the control socket, both ways. A reload may look up names and change routes.
	requestTime = 10 * time.Second
)

// controlServer answers on the control socket.
type controlServer struct {
	http *http.Server
	wg   sync.WaitGroup
}

// openControl makes the control socket. A node works without it, so that it cannot be made is only said.
func (n *node) openControl(report func(context.Context) *Status, more ...func(*http.ServeMux)) phase {
	report = withProblems(report)
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
			n.control = serveControl(l, report, n.reload, more...)
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

// withProblems makes a report say what is wrong.
func withProblems(report func(context.Context) *Status) func(context.Context) *Status {
	return func(ctx context.Context) *Status {
		st := report(ctx)
		st.Problems = st.findProblems()
		return st
	}
}

// serveControl takes l and answers on it until close.
func serveControl(l net.Listener, report func(context.Context) *Status, reload func(context.Context) *Reload, more ...func(*http.ServeMux)) *controlServer {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, value any) {
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(value) // fails when the asker has gone
	}
	mux.HandleFunc("GET "+statusPath, func(w http.ResponseWriter, r *http.Request) { answer(w, report(r.Context())) })
	mux.HandleFunc("POST "+reloadPath, func(w http.ResponseWriter, r *http.Request) { answer(w, reload(r.Context())) })
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
	return readStatus(ctx, path, dialUnix(path))
}

func dialUnix(path string) func(ctx context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", path) }
}

func readStatus(ctx context.Context, path string, dial func(ctx context.Context) (net.Conn, error)) (*Status, error) {
	st := new(Status)
	return st, ask(ctx, http.MethodGet, statusPath, path, dial, st)
}

// AskReload makes the node whose control socket is at path read its configuration anew. Errors are as those of ReadStatus; what is wrong with
// the configuration is in the Reload.
func AskReload(ctx context.Context, path string) (*Reload, error) {
	r := new(Reload)
	return r, ask(ctx, http.MethodPost, reloadPath, path, dialUnix(path), r)
}

// ask sends a request to the node whose control socket is at path and fills in what it answers.
func ask(ctx context.Context, method, what, path string, dial func(ctx context.Context) (net.Conn, error), into any) error {
	client := http.Client{
		Timeout: requestTime,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		},
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://bondd"+what, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return askError(path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the bondd at %s: it answers %s", path, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxStatus)).Decode(into); err != nil {
		return fmt.Errorf("ask the bondd at %s: it answers something else: %w", path, err)
	}
	return nil
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
