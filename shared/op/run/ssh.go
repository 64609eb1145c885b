package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/sandbox"
)

// Agents gives access to the user's SSH agents.
type Agents interface {
	// Dial connects to the agent called id; ok is false when the user gave none.
	Dial(ctx context.Context, id string) (conn io.ReadWriteCloser, ok bool, err error)
}

// sshSource offers the user's agent at a socket of the step's own: the real one
// stays out of its reach, and ends to be reachable with the step.
func (r *Runner) sshSource(ctx context.Context, m *graph.Mount) (source, error) {
	p, release, err := serveAgent(ctx, r.SSH, m.Secret.ID, socketParent(r.Workspace.Path()))
	if errors.Is(err, ErrNoAgent) && m.Secret.Optional {
		return source{absent: true}, nil
	}
	if err != nil {
		return source{}, err
	}
	return source{file: true, mount: sandbox.Mount{Source: p}, release: release}, r.own(p, m.Secret)
}

// socketParent is beside the roots, since a sandbox without mounts moves the
// socket into one; unless its path would be too long for a socket, which may have
// 107 bytes (unix(7)). The empty string is the system's temporary directory.
func socketParent(dir string) string {
	if len(dir) > 80 {
		return ""
	}
	return dir
}

// ErrNoAgent is an SSH agent that the user did not offer.
var ErrNoAgent = errors.New("not given")

// serveAgent forwards a socket of its own to one of the user's agents until it
// is released. The error is ErrNoAgent when there is none by that ID.
func serveAgent(ctx context.Context, agents Agents, id, parent string) (socket string, release func() error, err error) {
	ok := false
	var conn io.Closer
	if agents != nil {
		conn, ok, err = agents.Dial(ctx, id)
	}
	if err != nil {
		return "", nil, fmt.Errorf("SSH agent %s: %w", id, err)
	}
	if !ok {
		return "", nil, fmt.Errorf("SSH agent %s: %w; forward one with --ssh %s", id, ErrNoAgent, id)
	}
	_ = conn.Close()
	dir, err := os.MkdirTemp(parent, "strake-ssh-")
	if err != nil {
		return "", nil, fmt.Errorf("make a place for the SSH agent's socket: %w", err)
	}
	p := filepath.Join(dir, "agent")
	l, err := net.Listen("unix", p) //nolint:noctx // closed by release
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("listen for SSH clients: %w", err), os.RemoveAll(dir))
	}
	f := &forwarder{dial: func() (io.ReadWriteCloser, error) {
		c, _, err := agents.Dial(ctx, id)
		return c, err
	}}
	f.wg.Go(func() { f.serve(l) })
	return p, func() error {
		err := l.Close()
		f.close()
		return errors.Join(err, os.RemoveAll(dir))
	}, nil
}

// forwarder joins a step's connections with connections to the agent.
type forwarder struct {
	dial func() (io.ReadWriteCloser, error)
	wg   sync.WaitGroup

	mu     sync.Mutex
	conns  []io.Closer
	closed bool
}

func (f *forwarder) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		agent, err := f.dial()
		if err != nil || agent == nil {
			_ = c.Close()
			continue
		}
		if !f.keep(c, agent) {
			return
		}
		f.wg.Go(func() { pipe(c, agent) })
		f.wg.Go(func() { pipe(agent, c) })
	}
}

// pipe carries one direction; the end of it ends the other, since an agent's
// protocol is question and answer.
func pipe(dst, src io.ReadWriteCloser) {
	_, _ = io.Copy(dst, src)
	_ = dst.Close()
	_ = src.Close()
}

// keep remembers connections to be closed in the end, which may be now.
func (f *forwarder) keep(conns ...io.Closer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		for _, c := range conns {
			_ = c.Close()
		}
		return false
	}
	f.conns = append(f.conns, conns...)
	return true
}

func (f *forwarder) close() {
	f.mu.Lock()
	f.closed = true
	for _, c := range f.conns {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}
