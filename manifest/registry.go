package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/registry"
)

// client makes the registry client of the flags. The registries of refs are
// those that --username is for.
func (c *command) client(x *cli.Context, refs ...string) (*registry.Client, error) {
	certs, err1 := pairs(x, "registry-certificate")
	clientCerts, err2 := pairs(x, "registry-client-cert")
	keys, err3 := c.keychain(x, refs)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, &shared.UsageError{Err: err}
	}
	insecure := yes(x, "insecure")
	plain := insecure || yes(x, "plain-http")
	o := registry.Options{
		Insecure: plain, InsecurePull: plain, InsecureRegistries: list(x, "insecure-registry"),
		SkipTLSVerify: insecure || yes(x, "skip-tls-verify"), SkipTLSVerifyRegistries: list(x, "skip-tls-verify-registry"),
		Mirrors: list(x, "registry-mirror"), Maps: list(x, "registry-map"), SkipDefaultFallback: yes(x, "skip-default-registry-fallback"),
		Certificates: certs, ClientCerts: clientCerts, Keychain: keys, UserAgent: "strake",
		Notice: func(line string) { c.log.Warn().Msg(line) },
	}
	if n := at(x, "retries").Int("retries"); n > 0 {
		o.Retries = registry.DefaultRetries + n
	}
	client, err := registry.New(o)
	if err != nil {
		return nil, &shared.UsageError{Err: err}
	}
	return client, nil
}

// pairs reads KEY=VALUE flags. A value may have "=" in it.
func pairs(x *cli.Context, flag string) (map[string]string, error) {
	out := map[string]string{}
	var errs []error
	for _, s := range list(x, flag) {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			errs = append(errs, fmt.Errorf("--%s %s: want KEY=VALUE", flag, s))
			continue
		}
		out[k] = v
	}
	return out, errors.Join(errs...)
}

// keychain is where credentials come from: --username for the command's own
// registries, else --docker-cfg, else Docker's usual places.
func (c *command) keychain(x *cli.Context, refs []string) (authn.Keychain, error) {
	keys, err := configured(text(x, "docker-cfg"))
	if err != nil {
		return nil, err
	}
	user, password := text(x, "username"), text(x, "password")
	if yes(x, "password-stdin") {
		if password, err = c.line("--password-stdin"); err != nil {
			return nil, err
		}
	}
	switch {
	case user == "" && password == "":
		return keys, nil
	case user == "" || password == "":
		return nil, errors.New("--username and --password (or --password-stdin) belong together")
	}
	g := &givenKeys{hosts: map[string]bool{}, auth: &authn.Basic{Username: user, Password: password}, others: keys}
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

// configured is a keychain of a Docker configuration: a file, or a directory
// with a config.json.
func configured(path string) (authn.Keychain, error) {
	if path == "" {
		return authn.DefaultKeychain, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("--docker-cfg: %w", err)
	}
	if info.IsDir() {
		path = filepath.Join(path, config.ConfigFileName)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--docker-cfg: %w", err)
	}
	f, err := config.LoadFromReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("--docker-cfg %s: %w", path, err)
	}
	return configKeys{f}, nil
}

type configKeys struct{ file *configfile.ConfigFile }

// Resolve finds the credentials for a registry; a program that the
// configuration names may be run for them.
func (k configKeys) Resolve(r authn.Resource) (authn.Authenticator, error) {
	host := r.RegistryStr()
	if host == name.DefaultRegistry {
		host = authn.DefaultAuthKey
	}
	a, err := k.file.GetAuthConfig(host)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", host, err)
	}
	if a.Username == "" && a.Password == "" && a.IdentityToken == "" && a.RegistryToken == "" {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: a.Username, Password: a.Password, Auth: a.Auth,
		IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}), nil
}
