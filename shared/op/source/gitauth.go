package source

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// headerAuth sets the Authorization header. It implements go-git's
// http.AuthMethod, which takes it off again when a redirect leaves the host.
type headerAuth struct{ value string }

func (a *headerAuth) SetAuth(r *http.Request) { r.Header.Set("Authorization", a.value) }
func (*headerAuth) Name() string              { return "header" }
func (*headerAuth) String() string            { return "header" }

// httpAuth finds the credentials for u among the secrets; nil if there are
// none, or if they are not for u but for the repository that has it as a
// submodule.
func (c *gitClient) httpAuth(u gitURL) *headerAuth {
	if !u.within(c.main) {
		return nil
	}
	for _, suffix := range []string{"." + c.main.host, ""} {
		if v, ok := c.secret(c.AuthHeader, suffix); ok {
			return &headerAuth{value: string(v)}
		}
		if v, ok := c.secret(c.AuthToken, suffix); ok {
			return &headerAuth{value: "Basic " + base64.StdEncoding.EncodeToString(append([]byte("x-access-token:"), v...))}
		}
	}
	return nil
}

func (c *gitClient) secret(id, suffix string) ([]byte, bool) {
	if id == "" {
		return nil, false
	}
	return c.Secrets.get(id + suffix)
}

// sshAuth is go-git's ssh.AuthMethod with the keys of the agent. A server is
// only talked to when its host key is known.
type sshAuth struct {
	user       string
	signers    func() ([]ssh.Signer, error)
	hostKey    ssh.HostKeyCallback
	algorithms []string
}

func (a *sshAuth) Name() string   { return "ssh-agent" }
func (a *sshAuth) String() string { return "ssh-agent" }

// ClientConfig implements ssh.AuthMethod.
func (a *sshAuth) ClientConfig() (*ssh.ClientConfig, error) {
	return &ssh.ClientConfig{
		User:              a.user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeysCallback(a.signers)},
		HostKeyCallback:   a.hostKey,
		HostKeyAlgorithms: a.algorithms,
		Timeout:           30 * time.Second,
	}, nil
}

func sshClient() transport.Transport { return gitssh.NewClient(nil) }

func (c *gitClient) sshAuth(u gitURL) (*sshAuth, error) {
	if c.KnownHosts == "" {
		return nil, fmt.Errorf("the ssh host key of %s is not known", u.host)
	}
	file := filepath.Join(c.Dir, "known_hosts")
	if err := os.WriteFile(file, []byte(c.KnownHosts), 0o600); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	known, err := gitssh.NewKnownHostsDb(file)
	if err != nil {
		return nil, fmt.Errorf("known hosts: %w", err)
	}
	ep := u.endpoint()
	port := ep.Port
	if port == 0 {
		port = gitssh.DefaultPort
	}
	user := ep.User
	if user == "" {
		user = "git"
	}
	return &sshAuth{
		user:       user,
		signers:    c.signers,
		hostKey:    known.HostKeyCallback(),
		algorithms: known.HostKeyAlgorithms(net.JoinHostPort(ep.Host, strconv.Itoa(port))),
	}, nil
}

// signers connects to the agent once for a list of keys and once for every
// signature, so that there is nothing to be closed at an unknown time.
func (c *gitClient) signers() ([]ssh.Signer, error) {
	var keys []*agent.Key
	err := c.withAgent(func(a agent.ExtendedAgent) (err error) {
		keys, err = a.List()
		return err
	})
	out := make([]ssh.Signer, 0, len(keys))
	for _, k := range keys {
		out = append(out, &agentKey{key: k, c: c})
	}
	return out, err
}

func (c *gitClient) withAgent(do func(agent.ExtendedAgent) error) error {
	if c.Dial == nil {
		return errors.New("there is no ssh agent")
	}
	conn, ok, err := c.Dial(c.SSH)
	if err != nil {
		return fmt.Errorf("ssh agent %q: %w", c.SSH, err)
	}
	if !ok {
		return fmt.Errorf("there is no ssh agent %q", c.SSH)
	}
	defer conn.Close()
	return do(agent.NewClient(conn))
}

// agentKey is a key whose private part the agent has.
type agentKey struct {
	key *agent.Key
	c   *gitClient
}

// PublicKey implements ssh.Signer.
func (k *agentKey) PublicKey() ssh.PublicKey { return k.key }

// Sign implements ssh.Signer.
func (k *agentKey) Sign(r io.Reader, data []byte) (*ssh.Signature, error) {
	return k.SignWithAlgorithm(r, data, "")
}

// SignWithAlgorithm implements ssh.AlgorithmSigner: RSA keys sign with SHA-2
// (RFC 8332).
func (k *agentKey) SignWithAlgorithm(_ io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	var flags agent.SignatureFlags
	switch algorithm {
	case ssh.KeyAlgoRSASHA256:
		flags = agent.SignatureFlagRsaSha256
	case ssh.KeyAlgoRSASHA512:
		flags = agent.SignatureFlagRsaSha512
	}
	var sig *ssh.Signature
	err := k.c.withAgent(func(a agent.ExtendedAgent) (err error) {
		sig, err = a.SignWithFlags(k.key, data, flags)
		return err
	})
	return sig, err
}
