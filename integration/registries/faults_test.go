package registries

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/registry"
)

// cutter is a proxy that breaks connections after some bytes from the client.
type cutter struct {
	host string
	cuts atomic.Int32 // still to make
	sent atomic.Int64 // bytes that went to the server
}

func newCutter(t testing.TB, to string, after int64) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := &cutter{host: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go c.carry(conn, to, after)
		}
	}()
	return c
}

func (c *cutter) carry(client net.Conn, to string, after int64) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(client, server)
		client.Close()
	}()
	buf := make([]byte, 32<<10)
	for total := int64(0); ; {
		n, err := client.Read(buf)
		total += int64(n)
		c.sent.Add(int64(n))
		if _, werr := server.Write(buf[:n]); err != nil || werr != nil {
			return
		}
		if total >= after && c.cuts.Add(-1) >= 0 {
			return
		}
	}
}

// TestUploadGoesOn: a large layer arrives over a connection that breaks. Version 3 says what it has, so it may break more
// often than there are retries, and little is sent twice. Version 2 refuses the question; there the layer begins anew.
func TestUploadGoesOn(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 2<<20) // 32 MiB
	layer := static.NewLayer(content, types.OCILayer)
	for version, cuts := range map[string]int32{"v2": 2, "v3": registry.DefaultRetries + 2} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c := newCutter(t, startDistribution(t, nil, distributions[version], setting{}), 6<<20)
			c.cuts.Store(cuts)
			p, err := newClient(t, registry.Options{}).Pusher(c.host + "/big:1")
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Upload(t.Context(), layer); err != nil {
				t.Error(err)
			}
			sent := c.sent.Load()
			t.Logf("%d MiB sent for %d", sent>>20, len(content)>>20)
			if version == "v3" && sent > int64(len(content))*3/2 {
				t.Errorf("%d bytes sent for %d", sent, len(content))
			}
		})
	}
}
