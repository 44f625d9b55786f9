package endpoints

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/bondd/bondd/tunnel"
)

// writeMetrics writes a status in the text format of Prometheus (exposition format 0.0.4). It is a few lines of text, for which
// the client library would bring a registry, protobuf and a collector of the runtime with it.
func writeMetrics(w io.Writer, st *Status) error {
	m := &metrics{w: w}
	m.family("bondd_info", "gauge", "the build that runs", value{labels("role", st.Role, "software", st.Software), 1})
	m.family("bondd_uptime_seconds", "gauge", "time since the start", value{"", st.Uptime})
	m.family("bondd_up", "gauge", "1 while the node does its work: an exit that is ready, a gateway whose bond is up",
		value{"", truth(st.State == "up" || st.State == "ready")})
	m.family("bondd_problems", "gauge", "sentences that bondd status has about what is wrong", value{"", float64(len(st.Problems))})
	var uplinks []value
	for _, u := range st.Uplinks {
		uplinks = append(uplinks, value{labels("uplink", u.Name, "interface", u.Interface, "mode", u.Mode), truth(u.Up && (u.IPv4 || u.IPv6))})
	}
	m.family("bondd_uplink_usable", "gauge", "1 while datagrams can leave by the uplink", uplinks...)
	var exits []value
	for _, x := range st.Exits {
		exits = append(exits, value{labels("exit", x.Name), truth(x.InUse)})
	}
	m.family("bondd_exit_in_use", "gauge", "of several exits, 1 for the one that everything leaves by", exits...)
	m.sessions(st)
	if s := st.Streams; s != nil {
		m.family("bondd_streams", "gauge", "connections that are carried as streams now", value{"", float64(s.Open)})
		m.family("bondd_streams_opened_total", "counter", "streams that have reached their target", value{"", float64(s.Opened)})
		m.family("bondd_streams_refused_total", "counter", "streams that have not, by reason", byReason(s.Refused)...)
	}
	m.family("bondd_drops_total", "counter", "packets and datagrams that were dropped, by reason", byReason(st.Drops)...)
	return m.err
}

func (m *metrics) sessions(st *Status) {
	var alive, backlog, drops []value
	for i := range st.Sessions {
		s := &st.Sessions[i]
		if s.Pending {
			continue
		}
		peer := labels("peer", s.Peer)
		alive = append(alive, value{peer, truth(s.Alive)})
		if s.Stats == nil {
			continue
		}
		backlog = append(backlog, value{peer, float64(s.Stats.Backlog)})
		own := map[string]uint64{}
		if text, err := json.Marshal(s.Stats.Drops); err == nil {
			_ = json.Unmarshal(text, &own) // its counters have their names in their JSON only
		}
		for _, v := range byReason(own) {
			drops = append(drops, value{join(peer, v.labels), v.number})
		}
	}
	m.family("bondd_session_alive", "gauge", "1 while a path of the session answers", alive...)
	m.family("bondd_session_backlog_bytes", "gauge", "packets that wait to be sent", backlog...)
	m.family("bondd_session_drops_total", "counter", "what the session did not take, by reason", drops...)
	for _, f := range pathFamilies {
		var list []value
		for i := range st.Sessions {
			s := &st.Sessions[i]
			if s.Pending || s.Stats == nil {
				continue
			}
			for _, p := range s.Stats.Paths {
				if p.State != "closed" {
					list = append(list, value{labels("peer", s.Peer, "path", s.PathName(p.ID)), f.of(&p)})
				}
			}
		}
		m.family(f.name, f.kind, f.help, list...)
	}
}

// pathFamilies are the metrics of each path. A path whose terms have changed is a new one and counts from zero, as Prometheus allows.
var pathFamilies = []struct {
	name, kind, help string
	of               func(p *tunnel.PathStats) float64
}{
	{"bondd_path_up", "gauge", "1 while the path carries data", func(p *tunnel.PathStats) float64 { return truth(p.State == "up") }},
	{"bondd_path_rtt_seconds", "gauge", "smoothed round trip", func(p *tunnel.PathStats) float64 { return p.RTT.Seconds() }},
	{"bondd_path_queue_seconds", "gauge", "delay that datagrams of ours cause", func(p *tunnel.PathStats) float64 { return p.Queue.Seconds() }},
	{"bondd_path_rate_bytes_per_second", "gauge", "what the path has been seen to deliver", func(p *tunnel.PathStats) float64 { return p.Rate }},
	{"bondd_path_sent_bytes_total", "counter", "datagrams sent", func(p *tunnel.PathStats) float64 { return float64(p.SentBytes) }},
	{"bondd_path_received_bytes_total", "counter", "datagrams received", func(p *tunnel.PathStats) float64 { return float64(p.RecvBytes) }},
	{"bondd_path_sent_datagrams_total", "counter", "datagrams sent", func(p *tunnel.PathStats) float64 { return float64(p.SentDatagrams) }},
	{"bondd_path_lost_datagrams_total", "counter", "datagrams sent that were lost", func(p *tunnel.PathStats) float64 { return float64(p.LostDatagrams) }},
}

type metrics struct {
	w   io.Writer
	err error
}

type value struct {
	labels string // without the braces
	number float64
}

// family writes one metric with its values; nothing if there are none.
func (m *metrics) family(name, kind, help string, values ...value) {
	if len(values) == 0 || m.err != nil {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	for _, v := range values {
		b.WriteString(name)
		if v.labels != "" {
			b.WriteString("{" + v.labels + "}")
		}
		fmt.Fprintf(&b, " %g\n", v.number)
	}
	_, m.err = io.WriteString(m.w, b.String())
}

// escape is what the format asks of label values.
var escape = strings.NewReplacer("\\", `\\`, "\"", `\"`, "\n", `\n`)

// labels joins names and values.
func labels(pairs ...string) string {
	var parts []string
	for i := 0; i+1 < len(pairs); i += 2 {
		parts = append(parts, pairs[i]+`="`+escape.Replace(pairs[i+1])+`"`)
	}
	return strings.Join(parts, ",")
}

func join(a, b string) string { return a + "," + b }

func byReason(counts map[string]uint64) []value {
	var out []value
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, value{labels("reason", reason), float64(counts[reason])})
	}
	return out
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
