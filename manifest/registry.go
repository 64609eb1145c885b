package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/registry"
)

// client makes the registry client of the flags. The registries of refs are
// those that --username is for.
func (c *command) client(x *cli.Context, refs ...string) (*registry.Client, error) {
	e := shared.Environment{Variables: os.Environ(), Destinations: refs, Notice: func(line string) { c.log.Warn().Msg(line) }}
	given, err1 := c.given(x, refs)
	file, err2 := dockerConfig(x.String("docker-cfg"))
	if err := errors.Join(err1, err2); err != nil {
		return nil, &shared.UsageError{Err: err}
	}
	if file != "" {
		e.Files = []string{file}
	}
	o, err := shared.Registries(x, e)
	if err != nil {
		return nil, err
	}
	if given != nil {
		given.others, o.Keychain = o.Keychain, given
	}
	insecure := x.Bool("insecure")
	o.Insecure = insecure || x.Bool("plain-http")
	o.InsecurePull = o.Insecure
	o.SkipTLSVerify = insecure || x.Bool("skip-tls-verify")
	if n := x.Int("retries"); n > 0 {
		o.Retries = registry.DefaultRetries + n
	}
	return shared.Client(o)
}

// pairs reads KEY=VALUE flags.
func pairs(x *cli.Context, flag string) (map[string]string, error) { return shared.KeyValues(x, flag) }

// given are the credentials of the command line, or nil.
func (c *command) given(x *cli.Context, refs []string) (*givenKeys, error) {
	user, password := x.String("username"), x.String("password")
	if x.Bool("password-stdin") {
		var err error
		if password, err = c.line("--password-stdin"); err != nil {
			return nil, err
		}
	}
	switch {
	case user == "" && password == "":
		return nil, nil
	case user == "" || password == "":
		return nil, errors.New("--username and --password (or --password-stdin) belong together")
	}
	g := &givenKeys{hosts: map[string]bool{}, auth: &authn.Basic{Username: user, Password: password}}
	for _, ref := range refs {
		r, err := name.ParseReference(ref, name.WeakValidation)
		if err != nil {
			continue // who uses it will say so
		}
		g.hosts[r.Context().RegistryStr()] = true
	}
	return g, nil
}

// line reads a secret from stdin, without the newline that echo puts after it.
func (c *command) line(flag string) (string, error) {
	b, err := io.ReadAll(io.LimitReader(c.stdin, 64<<10))
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return "", fmt.Errorf("%s: stdin is empty", flag)
	}
	return s, nil
}

// givenKeys are credentials of the command line. They go to the registries they
// are meant for, never to another one from which something is copied.
type givenKeys struct {
	hosts  map[string]bool
	auth   authn.Authenticator
	others authn.Keychain
}

// Resolve finds the credentials for a registry.
func (g *givenKeys) Resolve(r authn.Resource) (authn.Authenticator, error) {
	if g.hosts[r.RegistryStr()] {
		return g.auth, nil
	}
	return g.others.Resolve(r)
}

// dockerConfig is the file of --docker-cfg, which may name its directory.
func dockerConfig(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		path = filepath.Join(path, "config.json")
		_, err = os.Stat(path)
	}
	if err != nil {
		return "", fmt.Errorf("--docker-cfg: %w", err)
	}
	return path, nil
}
