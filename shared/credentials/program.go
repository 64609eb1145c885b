package credentials

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Programs runs docker-credential-* programs.
type Programs struct {
	// Path has the directories where they are, as in PATH. Relative ones are left out.
	Path []string
	// Environ is their environment.
	Environ []string
	// Builtin answers in place of a program that is not installed, by the name
	// of the helper: "ecr-login".
	Builtin map[string]Provider
	// Limit is how long one may take; zero means half a minute.
	Limit time.Duration
	// Fresh is how long an answer is taken without asking again, as programs do not
	// say until when it is good; zero means five minutes.
	Fresh time.Duration
}

// until is when a program is to be asked again.
func (p Programs) until() time.Time {
	return time.Now().Add(early + cmp.Or(p.Fresh, 5*time.Minute))
}

// tokenUser is the user name that stands for an identity token
// (docker login's documentation, "Credential helper protocol").
const tokenUser = "<token>"

// addressOfHub is how credential programs know Docker Hub.
const addressOfHub = "https://index.docker.io/v1/"

// helper is the entry for a registry that a file names a helper for.
func (s Sources) helper(origin, key, helper string) entry {
	e := entry{soft: true, fits: parseScope(key).fits, origin: fmt.Sprintf("%s, credential helper %q for %s", origin, helper, key)}
	e.get = func(ctx context.Context, target scope) (authn.AuthConfig, time.Time, error) {
		c, err := s.Programs.get(ctx, helper, addressOf(key))
		p := s.Programs.Builtin[helper]
		if errors.Is(err, exec.ErrNotFound) && p != nil && p.Serves(target.host) {
			return p.Credential(ctx, target.host)
		}
		return c, s.Programs.until(), err
	}
	return e
}

// store is the entry for the store of all credentials. Files with one are often
// copied from where it exists to where it does not: that is told, and passed over.
func (s Sources) store(origin, helper string, keys []string) entry {
	e := entry{origin: fmt.Sprintf("%s, credential store %q", origin, helper), weak: true, soft: true}
	e.fits = func(scope) (int, bool) { return 0, true }
	e.get = func(ctx context.Context, target scope) (authn.AuthConfig, time.Time, error) {
		address := addressOf(target.host)
		// Programs know a registry by the address it was stored under.
		for _, k := range keys {
			if sc := parseScope(k); sc.host == target.host && sc.path == "" {
				address = addressOf(k)
			}
		}
		c, err := s.Programs.get(ctx, helper, address)
		return c, s.Programs.until(), err
	}
	return e
}

func addressOf(key string) string {
	if parseScope(key).host == parseScope(addressOfHub).host {
		return addressOfHub
	}
	return key
}

// get asks a program for the credential of an address
// (docker-credential-helpers, "Development"). What it prints is never part of an
// error: it may be a secret.
func (p Programs) get(ctx context.Context, helper, address string) (authn.AuthConfig, error) {
	file, err := p.find(helper)
	if err != nil {
		return authn.AuthConfig{}, err
	}
	limit := p.Limit
	if limit == 0 {
		limit = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out := &limitedBuffer{left: 1 << 20}
	cmd := exec.CommandContext(ctx, file, "get")
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stdout = p.Environ, "/", strings.NewReader(address), out
	// Its children end with it, and do not keep us waiting for its output.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return authn.AuthConfig{}, fmt.Errorf("%s gave no answer within %v", file, limit)
	case err != nil && out.says("credentials not found"):
		return authn.AuthConfig{}, ErrNone
	case err != nil:
		return authn.AuthConfig{}, fmt.Errorf("%s get: %w; run it by hand to see why (its output is not shown, as it may hold a secret)", file, err)
	}
	return answer(file, out.Bytes())
}

func answer(file string, b []byte) (authn.AuthConfig, error) {
	var c struct{ Username, Secret string }
	if err := json.Unmarshal(b, &c); err != nil {
		return authn.AuthConfig{}, fmt.Errorf("%s get: its answer is %w", file, withoutText(err))
	}
	switch {
	case c.Username == "" && c.Secret == "":
		return authn.AuthConfig{}, ErrNone
	case c.Username == tokenUser:
		return authn.AuthConfig{Username: tokenUser, IdentityToken: c.Secret}, nil
	}
	return authn.AuthConfig{Username: c.Username, Password: c.Secret}, nil
}

// find looks for the program in the path; a name is never a path itself.
func (p Programs) find(helper string) (string, error) {
	if helper == "" || strings.ContainsFunc(helper, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r))
	}) {
		return "", fmt.Errorf("%q is not the name of a credential helper", helper)
	}
	file := "docker-credential-" + helper
	for _, dir := range p.Path {
		if !filepath.IsAbs(dir) {
			continue
		}
		full := filepath.Join(dir, file)
		if fi, err := os.Stat(full); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return full, nil
		}
	}
	return "", fmt.Errorf("%s: %w: put it there, or take the helper out of the config file", file, exec.ErrNotFound)
}

// limitedBuffer keeps the beginning of what is written.
type limitedBuffer struct {
	bytes.Buffer
	left int
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	b.Buffer.Write(p[:n])
	return len(p), nil
}

func (b *limitedBuffer) says(text string) bool { return strings.Contains(b.String(), text) }
