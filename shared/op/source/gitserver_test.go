package source

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// git runs git and returns what it prints.
func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(gitEnv(), "GIT_COMMITTER_DATE=1600000000 +0200", "GIT_AUTHOR_DATE=1500000000 +0000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func gitEnv() []string {
	env := []string{"HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "PATH=" + os.Getenv("PATH")}
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		env = append(env, "GIT_"+who+"_NAME=Me", "GIT_"+who+"_EMAIL=me@example.com")
	}
	return env
}

// server is a directory of repositories, offered in several ways.
type server struct {
	dir  string
	http *httptest.Server
	seen []string // Authorization headers
}

func newServer(t testing.TB) *server {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	s := &server{dir: t.TempDir()}
	backend := &cgi.Handler{
		Path: filepath.Join(git(t, s.dir, "--exec-path"), "git-http-backend"),
		Env:  append(gitEnv(), "GIT_PROJECT_ROOT="+s.dir, "GIT_HTTP_EXPORT_ALL=1"),
		// git says there what it tells us anyway.
		Stderr: io.Discard,
	}
	s.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.seen = append(s.seen, r.Header.Get("Authorization"))
		if strings.HasPrefix(r.URL.Path, "/private") && r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.http.Close)
	return s
}

// url is the address of a repository over http.
func (s *server) url(name string) string { return s.http.URL + "/" + name }

// create makes an empty repository with a working tree, and returns that.
func (s *server) create(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(s.dir, name)
	check(t, os.MkdirAll(dir, 0o755))
	git(t, dir, "init", "-q", "-b", "main")
	return dir
}

func commit(t testing.TB, dir, message string) string {
	t.Helper()
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", message)
	return git(t, dir, "rev-parse", "HEAD")
}

// daemon offers the repositories as git daemon does, and returns its address.
func (s *server) daemon(t testing.TB) string {
	t.Helper()
	return listen(t, func(conn net.Conn) {
		cmd := exec.Command("git", "daemon", "--inetd", "--export-all", "--base-path="+s.dir)
		cmd.Env = gitEnv()
		cmd.Stdin, cmd.Stdout = conn, conn
		_ = cmd.Run()
	})
}

func listen(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return l.Addr().String()
}

// ssh offers the repositories over ssh to the holder of the key in the agent.
func (s *server) ssh(t testing.TB) (addr, knownHosts, agentSocket string) {
	t.Helper()
	_, hostKey, err := ed25519.GenerateKey(nil)
	check(t, err)
	host, err := ssh.NewSignerFromKey(hostKey)
	check(t, err)
	_, userKey, err := ed25519.GenerateKey(nil)
	check(t, err)
	user, err := ssh.NewPublicKey(userKey.Public())
	check(t, err)
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || string(k.Marshal()) != string(user.Marshal()) {
			return nil, fmt.Errorf("denied")
		}
		return &ssh.Permissions{}, nil
	}}
	cfg.AddHostKey(host)
	addr = listen(t, func(conn net.Conn) { s.serveSSH(conn, cfg) })

	ring := agent.NewKeyring()
	check(t, ring.Add(agent.AddedKey{PrivateKey: userKey}))
	agentSocket = filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", agentSocket)
	check(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn); _ = conn.Close() }()
		}
	}()
	return addr, knownhosts.Line([]string{addr}, host.PublicKey()) + "\n", agentSocket
}

func (s *server) serveSSH(conn net.Conn, cfg *ssh.ServerConfig) {
	_, chans, reqs, err := ssh.NewServerConn(conn, cfg)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		for req := range reqs {
			if req.Type != "exec" {
				_ = req.Reply(false, nil)
				continue
			}
			_ = req.Reply(true, nil)
			_, name, _ := strings.Cut(string(req.Payload[4:]), " ")
			cmd := exec.Command("git", "upload-pack", filepath.Join(s.dir, strings.Trim(name, "'")))
			cmd.Env = gitEnv()
			in, _ := cmd.StdinPipe()
			go func() { _, _ = io.Copy(in, ch); _ = in.Close() }()
			cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
			_ = cmd.Run()
			_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
			_ = ch.Close()
		}
	}
}
