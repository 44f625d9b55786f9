package endpoints

import (
	"github.com/bondd/bondd/tunnel"
)

// Traffic is what one path did between two statuses.
type Traffic struct {
	Path     tunnel.PathID `json:"path"`
	Out      float64       `json:"out_Bps"` // bytes of datagrams a second
	In       float64       `json:"in_Bps"`
	OutShare float64       `json:"out_share"` // of the session's, 0 to 1; 0 when nothing went
	InShare  float64       `json:"in_share"`
	Loss     float64       `json:"loss"` // of the datagrams sent meanwhile, 0 to 1; lost ones are noticed later, so it may be above
}

// Measure fills in the traffic of st from an older status of the same node. A session or path that is not in both has none.
func (st *Status) Measure(older *Status) {
	took := st.Uptime - older.Uptime
	if took <= 0 {
		return
	}
	for i := range st.Sessions {
		s := &st.Sessions[i]
		for _, o := range older.Sessions {
			if o.Index == s.Index && o.Key == s.Key && o.Stats != nil && s.Stats != nil {
				s.Traffic = measure(o.Stats.Paths, s.Stats.Paths, took)
			}
		}
	}
}

func measure(before, now []tunnel.PathStats, took float64) []Traffic {
	var list []Traffic
	var out, in float64
	for _, p := range now {
		for _, b := range before {
			if b.ID != p.ID {
				continue
			}
			t := Traffic{Path: p.ID, Out: float64(p.SentBytes-b.SentBytes) / took, In: float64(p.RecvBytes-b.RecvBytes) / took}
			if sent := p.SentDatagrams - b.SentDatagrams; sent > 0 {
				t.Loss = float64(p.LostDatagrams-b.LostDatagrams) / float64(sent)
			}
			out, in = out+t.Out, in+t.In
			list = append(list, t)
		}
	}
	for i := range list {
		t := &list[i]
		if out > 0 {
			t.OutShare = t.Out / out
		}
		if in > 0 {
			t.InShare = t.In / in
		}
	}
	return list
}

// Of returns the traffic of a path; zero if it is not known.
func (s *SessionStatus) Of(id tunnel.PathID) Traffic {
	for _, t := range s.Traffic {
		if t.Path == id {
			return t
		}
	}
	return Traffic{Path: id}
}
