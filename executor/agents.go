package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// agents answers steps' questions for SSH agents: by a socket of the user's, or
// by keys held in this process's memory.
type agents map[string]agentSource

type agentSource struct {
	socket string
	keys   agent.Agent
}

// parseAgents reads --ssh flags: default, or NAME[=SOCKET|KEY[,KEY]].
func parseAgents(flags []string) (agents, error) {
	all := make(agents)
	for _, f := range flags {
		id, paths, _ := strings.Cut(f, "=")
		if id == "" {
			id = "default"
		}
		s, err := openAgent(paths)
		if err != nil {
			return nil, fmt.Errorf("--ssh %s: %w", f, err)
		}
		all[id] = s
	}
	return all, nil
}

func openAgent(paths string) (agentSource, error) {
	if paths == "" {
		sock := os.Getenv("SSH_AUTH_SOCK")
		if sock == "" {
			return agentSource{}, fmt.Errorf("SSH_AUTH_SOCK is not set; name a socket or a key file")
		}
		return agentSource{socket: sock}, nil
	}
	list := strings.Split(paths, ",")
	if fi, err := os.Stat(list[0]); err == nil && fi.Mode()&os.ModeSocket != 0 {
		if len(list) > 1 {
			return agentSource{}, fmt.Errorf("one socket, or keys, but not both")
		}
		return agentSource{socket: list[0]}, nil
	}
	ring := agent.NewKeyring()
	for _, p := range list {
		pem, err := os.ReadFile(p)
		if err != nil {
			return agentSource{}, err
		}
		key, err := ssh.ParseRawPrivateKey(pem)
		if err != nil {
			return agentSource{}, fmt.Errorf("key %s: %w", p, err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			return agentSource{}, fmt.Errorf("key %s: %w", p, err)
		}
	}
	return agentSource{keys: ring}, nil
}

// Dial implements run.Agents.
func (a agents) Dial(ctx context.Context, id string) (io.ReadWriteCloser, bool, error) {
	s, ok := a[id]
	if !ok {
		return nil, false, nil
	}
	if s.keys == nil {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", s.socket)
		return c, err == nil, err
	}
	ours, theirs := net.Pipe()
	go func() {
		_ = agent.ServeAgent(s.keys, ours) // ends when the step's side closes
		_ = ours.Close()
	}()
	return theirs, true, nil
}
