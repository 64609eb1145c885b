package registry_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/registry"
)

// A server that ends a connection after the handshake, as one does that misses a client certificate, may have its alert
// overtaken by the reset. Plain HTTP, which loopback addresses may be spoken to with, then only says that it speaks TLS.
func TestResetInPlaceOfAlert(t *testing.T) {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	certs := s.TLS
	s.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go refuse(c.(*net.TCPConn), certs)
		}
	}()
	c, err := registry.New(registry.Options{SkipTLSVerify: true, Retries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Hurry().Document(t.Context(), l.Addr().String()+"/app:1")
	if !errors.Is(err, registry.ErrUntrusted) || !strings.Contains(err.Error(), "--registry-client-cert") {
		t.Error(err)
	}
}

func refuse(c *net.TCPConn, certs *tls.Config) {
	defer c.Close()
	in := bufio.NewReader(c)
	first, err := in.Peek(1)
	if err != nil {
		return
	}
	if first[0] != 0x16 { // no TLS record
		_, _ = io.WriteString(c, "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
		return
	}
	if err := tls.Server(&peeked{c, in}, certs).Handshake(); err == nil {
		_ = c.SetLinger(0)
	}
}

// peeked is a connection of which something has been read ahead.
type peeked struct {
	net.Conn
	in io.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.in.Read(b) }
