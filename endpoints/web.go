package endpoints

import (
	"context"
	_ "embed"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// webPage is the whole page: it fetches the status once a second and draws it. It loads nothing from elsewhere.
//
//go:embed web.html
var webPage []byte

// webServer shows the status to browsers, and to Prometheus. It changes nothing.
type webServer struct {
	http *http.Server
	wg   sync.WaitGroup
}

// openWeb makes the page and the metrics, if the configuration asks for them.
func (n *node) openWeb(report func(context.Context) *Status) phase {
	var w *webServer
	return phase{"web page",
		func(ctx context.Context) error {
			if len(n.cfg.Web) == 0 {
				return nil
			}
			w = newWeb(withProblems(report))
			for _, at := range n.cfg.Web {
				l, err := n.host.listenTCP(ctx, at)
				if err != nil {
					w.close()
					return err
				}
				w.wg.Go(func() { // joined by close
					_ = w.http.Serve(l) // ends with the listener
				})
				n.log.Info("web page", "at", at)
			}
			return nil
		},
		func(context.Context) error {
			if w == nil {
				return nil
			}
			return w.close()
		},
	}
}

func newWeb(report func(context.Context) *Status) *webServer {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'")
		_, _ = w.Write(webPage)
	})
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(report(r.Context()))
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = writeMetrics(w, report(r.Context()))
	})
	return &webServer{http: &http.Server{
		Handler:           ownHost(mux),
		ReadHeaderTimeout: requestTime, ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: requestTime,
		MaxHeaderBytes: 8 << 10,
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}}
}

// ownHost answers only who asks for an address or for localhost. A name may be one that a stranger's page has had pointed here (DNS rebinding), to
// read from inside of the LAN what it cannot reach.
func ownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
			http.Error(w, "ask by address, or as localhost", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (w *webServer) close() error {
	err := w.http.Close()
	w.wg.Wait()
	return err
}
