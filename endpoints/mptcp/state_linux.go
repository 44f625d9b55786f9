package mptcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/bondd/bondd/endpoints/uplink"
)

// stateFile is what a Manager has made, and how things were before. It outlives a process that is killed.
type stateFile struct {
	path string

	Boot      string          `json:"boot"` // what another boot has made is gone
	Endpoints []savedEndpoint `json:"endpoints,omitempty"`
	Limits    *savedLimits    `json:"limits,omitempty"`
}

// savedEndpoint is an endpoint that we made, or were about to make: then ID is 0.
type savedEndpoint struct {
	Endpoint
	ID uint8 `json:"id"`
}

// is tells whether an endpoint of the kernel is this one.
func (s savedEndpoint) is(e endpoint) bool {
	return s.Addr == e.Addr && s.Ifindex == e.Ifindex && (s.ID == 0 || s.ID == e.id)
}

func (s savedEndpoint) endpoint() endpoint { return endpoint{Endpoint: s.Endpoint, id: s.ID} }

type savedLimits struct{ Old, New limits }

func openState() (*stateFile, error) {
	path, boot, err := uplink.StateFile("mptcp")
	if err != nil {
		return nil, err
	}
	s := &stateFile{path: path}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the state file: %w", err)
	}
	if json.Unmarshal(b, s) != nil || s.Boot != boot {
		s.Endpoints, s.Limits = nil, nil
	}
	s.Boot = boot
	return s, nil
}

// save replaces the file at once, so that a kill leaves the old or the new one.
func (s *stateFile) save() error {
	if len(s.Endpoints) == 0 && s.Limits == nil {
		return s.close()
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = os.WriteFile(s.path+".new", append(b, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(s.path+".new", s.path)
	}
	if err != nil {
		return fmt.Errorf("write the state file: %w", err)
	}
	return nil
}

// close removes the file.
func (s *stateFile) close() error {
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
