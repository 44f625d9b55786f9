package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// A host is asked for work in JSON lines on its standard input and answers on
// its standard output. Answers come in the order in which the work is done;
// operations of one host run side by side.
type request struct {
	ID   uint64          `json:"id"`
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args,omitempty"`
}

type response struct {
	ID     uint64          `json:"id"`
	Error  string          `json:"error,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// caller is the parent's end of the pipes to one host.
type caller struct {
	mu      sync.Mutex // guards the fields up to pending, and the writing
	w       io.Writer
	last    uint64
	pending map[uint64]chan response
	gone    chan struct{} // closed when no answer can come any more
}

// newCaller starts the goroutine that reads answers; it ends with r.
func newCaller(w io.Writer, r io.Reader) *caller {
	c := &caller{w: w, pending: map[uint64]chan response{}, gone: make(chan struct{})}
	go func() {
		defer close(c.gone)
		dec := json.NewDecoder(r)
		for {
			var resp response
			if dec.Decode(&resp) != nil {
				return
			}
			c.mu.Lock()
			ch := c.pending[resp.ID]
			delete(c.pending, resp.ID)
			c.mu.Unlock()
			if ch != nil {
				ch <- resp // has room for its one answer
			}
		}
	}()
	return c
}

var errGone = errors.New("the process has ended")

// call asks for one operation and waits for its answer. When ctx ends first the
// operation goes on in the host, unheard.
func (c *caller) call(ctx context.Context, op string, args, result any) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	ch := make(chan response, 1)
	c.mu.Lock()
	c.last++
	id := c.last
	c.pending[id] = ch
	line, err := json.Marshal(request{ID: id, Op: op, Args: raw})
	if err == nil {
		_, err = c.w.Write(append(line, '\n'))
	}
	if err != nil {
		delete(c.pending, id)
	}
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w (%v)", op, errGone, err)
	}
	select {
	case resp := <-ch:
		if resp.Error != "" {
			return fmt.Errorf("%s: %s", op, resp.Error)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(resp.Result, result)
	case <-c.gone:
		return fmt.Errorf("%s: %w", op, errGone)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", op, context.Cause(ctx))
	}
}

// operation is the host's side of one op.
type operation func(ctx context.Context, args json.RawMessage) (any, error)

// op wraps a typed function as an operation.
func op[A, R any](f func(context.Context, A) (R, error)) operation {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var args A
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, err
		}
		return f(ctx, args)
	}
}

// serve answers requests until r ends. Each operation has its own goroutine,
// which ends with its work or, at the latest, with the process.
func serve(ctx context.Context, r io.Reader, w io.Writer, ops map[string]operation) {
	var mu sync.Mutex
	enc := json.NewEncoder(w)
	dec := json.NewDecoder(r)
	for {
		var req request
		if dec.Decode(&req) != nil {
			return
		}
		go func() {
			resp := response{ID: req.ID}
			f := ops[req.Op]
			if f == nil {
				resp.Error = "unknown operation"
			} else if result, err := f(ctx, req.Args); err != nil {
				resp.Error = err.Error()
			} else if resp.Result, err = json.Marshal(result); err != nil {
				resp.Error = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			enc.Encode(resp) // fails only when nobody listens any more
		}()
	}
}
