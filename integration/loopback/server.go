package loopback

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Server is a running registry.
type Server struct {
	// Addr is host:port, as it stands in an image's name.
	Addr string

	port int
	http *http.Server
	done chan error
}

// Listen starts a registry on a loopback port; port 0 takes a free one. Close ends it.
func Listen(ctx context.Context, port int, h http.Handler) (*Server, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("start registry: %w", err)
	}
	s := &Server{
		Addr: l.Addr().String(),
		port: l.Addr().(*net.TCPAddr).Port,
		http: &http.Server{Handler: h, ReadHeaderTimeout: time.Minute},
		done: make(chan error, 1),
	}
	go func() { s.done <- s.http.Serve(l) }()
	return s, nil
}

// Port is the server's port.
func (s *Server) Port() int { return s.port }

// Close ends the registry at once, open requests included.
func (s *Server) Close() error {
	err := s.http.Close()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
