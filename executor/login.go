package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/credentials"
)

// maxPassword is how long a password may be; some are tokens of a few kilobytes.
const maxPassword = 64 << 10

func loginFlags() []flags.Flag {
	return []flags.Flag{
		{Name: "username", Short: "u", Value: "NAME", Group: groupCommand, Local: true, State: flags.Kept, Doc: "the user's name"},
		{Name: "password", Short: "p", Value: "PASSWORD", Group: groupCommand, Local: true, Secret: true, State: flags.Kept, Doc: "the password; others may see it in the list of processes"},
		{Name: "password-stdin", Kind: flags.Bool, Group: groupCommand, Local: true, State: flags.Kept, Doc: "read the password from stdin"},
	}
}

// login writes a credential where pushes and pulls look for it. The registry is
// not asked.
func (c *command) login(x *cli.Context) error {
	host, err := registryArgument(x)
	if err != nil {
		return err
	}
	user, password := x.String("username"), x.String("password")
	switch {
	case user == "":
		return &shared.UsageError{Err: errors.New("--username: none given")}
	case x.Bool("password-stdin") && password != "":
		return &shared.UsageError{Err: errors.New("--password and --password-stdin: give one of them")}
	case x.Bool("password-stdin"):
		b, err := io.ReadAll(io.LimitReader(c.stdin, maxPassword))
		if err != nil {
			return fmt.Errorf("read the password: %w", err)
		}
		password = strings.TrimRight(string(b), "\r\n")
	}
	if password == "" {
		return &shared.UsageError{Err: errors.New("the password is empty; give it on stdin with --password-stdin")}
	}
	path, err := storeLogin(host, user, password)
	if err != nil {
		return err
	}
	c.log.Info().Msgf("stored the login for %s in %s", host, path)
	return nil
}

// logout takes a credential away again.
func (c *command) logout(x *cli.Context) error {
	host, err := registryArgument(x)
	if err != nil {
		return err
	}
	path, err := eraseLogin(host)
	if err != nil {
		return err
	}
	c.log.Info().Msgf("removed the login for %s from %s", host, path)
	return nil
}

func registryArgument(x *cli.Context) (string, error) {
	if x.NArg() != 1 {
		return "", &shared.UsageError{Err: fmt.Errorf("executor %s: want one registry", x.Command.Name)}
	}
	host := strings.TrimSuffix(strings.TrimPrefix(x.Args().First(), "https://"), "/")
	if _, err := name.NewRegistry(host); err != nil || host == "" {
		return "", &shared.UsageError{Err: fmt.Errorf("executor %s: %q is no registry; want HOST or HOST:PORT", x.Command.Name, x.Args().First())}
	}
	return host, nil
}

// credentialKey is how a registry is called in config.json: Docker Hub has a
// name of its own there.
func credentialKey(host string) string {
	switch host {
	case "docker.io", "index.docker.io", "registry-1.docker.io", "index.docker.io/v1":
		return "https://index.docker.io/v1/"
	}
	return host
}

// dockerConfig is the directory of config.json, as everybody who reads it looks for it.
func dockerConfig() string {
	if d := os.Getenv("DOCKER_CONFIG"); d != "" {
		return d
	}
	return config.Dir()
}

func storeLogin(host, user, password string) (path string, err error) {
	path = filepath.Join(dockerConfig(), config.ConfigFileName)
	return path, credentials.Store(path, host, user, password)
}

func eraseLogin(host string) (path string, err error) {
	file, err := config.Load(dockerConfig())
	if err != nil {
		return "", fmt.Errorf("read the logins: %w", err)
	}
	key := credentialKey(host)
	if err := file.GetCredentialsStore(key).Erase(key); err != nil {
		return "", fmt.Errorf("remove the login for %s: %w", host, err)
	}
	return filepath.Join(dockerConfig(), config.ConfigFileName), nil
}
