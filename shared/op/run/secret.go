package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/sandbox"
)

// secretEnv adds the secrets that a step wants as variables.
func (r *Runner) secretEnv(env []string, wanted []graph.SecretEnv) ([]string, error) {
	for _, w := range wanted {
		value, ok, err := r.Secrets.Secret(w.ID)
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", w.ID, err)
		}
		if !ok {
			if w.Optional {
				continue
			}
			return nil, missingSecret(w.ID)
		}
		// What a variable of that name was before must not be found first.
		env = slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, w.Name+"=") })
		env = append(env, w.Name+"="+string(value))
	}
	return env, nil
}

// ErrNoSecret is a secret that a step requires and the user did not offer.
var ErrNoSecret = errors.New("not found")

func missingSecret(id string) error {
	return fmt.Errorf("secret %s: %w; give it with --secret id=%s,src=FILE or --secret id=%s,env=VARIABLE", id, ErrNoSecret, id, id)
}

// secretSource writes a secret into a file that only the one step sees.
func (r *Runner) secretSource(m *graph.Mount) (source, error) {
	value, ok, err := r.Secrets.Secret(m.Secret.ID)
	if err != nil {
		return source{}, fmt.Errorf("secret %s: %w", m.Secret.ID, err)
	}
	if !ok {
		if m.Secret.Optional {
			return source{absent: true}, nil
		}
		return source{}, missingSecret(m.Secret.ID)
	}
	dir, err := os.MkdirTemp(secretParent(r.Workspace.Path()), "strake-secret-")
	if err != nil {
		return source{}, fmt.Errorf("make a place for secret %s: %w", m.Secret.ID, err)
	}
	s := source{file: true, release: func() error { return os.RemoveAll(dir) }}
	p := filepath.Join(dir, "secret")
	s.mount = sandbox.Mount{Source: p, ReadOnly: true}
	if err := os.WriteFile(p, value, 0o600); err != nil {
		return s, fmt.Errorf("write secret %s: %w", m.Secret.ID, err)
	}
	return s, r.own(p, m.Secret)
}

// own gives a secret's file or socket the owner and mode that the step asked for.
func (r *Runner) own(p string, m *graph.SecretMount) error {
	if err := r.Workspace.Give(p, m.UID, m.GID, m.Mode&0o777); err != nil {
		return fmt.Errorf("give %s to %d:%d: %w", m.ID, m.UID, m.GID, err)
	}
	return nil
}

// secretParent prefers memory over a disk, where a deleted file can be dug up.
func secretParent(fallback string) string {
	const shm = "/dev/shm"
	probe, err := os.CreateTemp(shm, "strake-")
	if err != nil {
		return fallback
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	return shm
}
