package registries

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/strake-build/strake/shared/credentials"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

func TestRegistries(t *testing.T) {
	w := newWorld(t)
	for _, s := range settings() {
		for version, program := range distributions {
			t.Run("distribution "+version+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				checkRegistry(t, w, s, startDistribution(t, w, program, s))
			})
		}
		if s.basic || s.token {
			continue
		}
		t.Run("go-containerregistry/"+s.name, func(t *testing.T) {
			t.Parallel()
			checkRegistry(t, w, s, startGGCR(t, w, s))
		})
	}
}

// options are what reaches a registry of a setting.
func (w *world) options(t testing.TB, s setting, host string) registry.Options {
	t.Helper()
	var o registry.Options
	if s.tls {
		o.Certificates = map[string]string{host: w.ca.crt}
	}
	if s.client {
		o.ClientCerts = map[string]string{host: w.client.crt + "," + w.client.pem}
	}
	if s.basic || s.token {
		o.Keychain = keychain(t, host, password)
	}
	return o
}

func keychain(t testing.TB, host, password string) authn.Keychain {
	t.Helper()
	k, err := credentials.New(credentials.Sources{Logins: []credentials.Login{{Host: host, User: user, Password: password, Origin: "the test"}}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newClient(t testing.TB, o registry.Options) *registry.Client {
	t.Helper()
	c, err := registry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func checkRegistry(t *testing.T, w *world, s setting, host string) {
	o := w.options(t, s, host)
	img := registrytest.Image(t, "linux/amd64")
	idx := registrytest.Index(t, img, registrytest.Image(t, "linux/arm64"))
	want := push(t, newClient(t, o), host+"/org/app:1", idx)
	c := newClient(t, o)
	got, err := c.Image(t.Context(), host+"/org/app:1", &v1.Platform{OS: "linux", Architecture: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	if d, _ := img.Digest(); got.Root.Digest != want || got.Manifest.Digest != d {
		t.Errorf("got %s of %s, want %s of %s", got.Manifest.Digest, got.Root.Digest, d, want)
	}
	for _, l := range got.Layers {
		readLayer(t, l)
	}
	checkMount(t, c, host, got)
	if _, err := c.Image(t.Context(), host+"/org/app:none", nil); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("a tag that is not there: %v", err)
	}
	checkRefusals(t, w, s, host)
}

func push(t testing.TB, c *registry.Client, dest string, idx v1.ImageIndex) v1.Hash {
	t.Helper()
	p, err := c.Pusher(dest)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	h, err := p.Push(t.Context(), idx)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func readLayer(t testing.TB, l registry.Layer) {
	t.Helper()
	r, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); err != nil || n != l.Descriptor.Size {
		t.Errorf("%d bytes of %d: %v", n, l.Descriptor.Size, err)
	}
}

// unread is a layer that must not be read.
type unread struct{ v1.Layer }

func (unread) Compressed() (io.ReadCloser, error) { return nil, errors.New("it was read") }

// checkMount: what a registry has in another repository is not sent again.
func checkMount(t *testing.T, c *registry.Client, host string, img *registry.Image) {
	t.Helper()
	layer, err := random.Layer(1000, img.Layers[0].Descriptor.MediaType)
	if err != nil {
		t.Fatal(err)
	}
	a, err1 := c.Pusher(host + "/org/one")
	b, err2 := c.Pusher(host + "/org/two")
	if err := errors.Join(err1, err2, a.Upload(t.Context(), layer)); err != nil {
		t.Fatal(err)
	}
	err = b.Upload(t.Context(), &registry.MountLayer{Layer: unread{layer}, Repository: host + "/org/one"})
	// go-containerregistry's has one store for all repositories, or none to mount from.
	if err != nil {
		t.Errorf("not mounted: %v", err)
	}
}

// checkRefusals: each failure is of its kind, and says where and what to do.
func checkRefusals(t *testing.T, w *world, s setting, host string) {
	t.Helper()
	type refusal struct {
		what string
		o    registry.Options
		kind error
		says string
	}
	var rs []refusal
	if s.basic || s.token {
		wrong, none := w.options(t, s, host), w.options(t, s, host)
		wrong.Keychain, none.Keychain = keychain(t, host, "wrong"), nil
		rs = append(rs, refusal{"wrong password", wrong, registry.ErrDenied, "the credentials from the test"},
			refusal{"no password", none, registry.ErrDenied, "no credentials for " + host})
	}
	if s.tls {
		o := w.options(t, s, host)
		o.Certificates = map[string]string{"other.example": w.ca.crt}
		rs = append(rs, refusal{"CA of another", o, registry.ErrUntrusted, "--registry-certificate"})
	}
	if s.client {
		o := w.options(t, s, host)
		o.ClientCerts = map[string]string{"other.example": w.client.crt + "," + w.client.pem}
		rs = append(rs, refusal{"no client certificate", o, registry.ErrUntrusted, "--registry-client-cert"})
	}
	for _, r := range rs {
		c := newClient(t, r.o)
		_, pulled := c.Image(t.Context(), host+"/org/app:1", nil)
		p, err := c.Pusher(host + "/org/app:2")
		if err != nil {
			t.Fatal(err)
		}
		for op, err := range map[string]error{"pull": pulled, "push": p.Check(t.Context())} {
			if !errors.Is(err, r.kind) || !strings.Contains(err.Error(), host) || !strings.Contains(err.Error(), r.says) {
				t.Errorf("%s, %s: %v; want %v that says %q", r.what, op, err, r.kind, r.says)
			}
			if err != nil && strings.Contains(err.Error(), password) {
				t.Errorf("%s: the password in %v", r.what, err)
			}
		}
	}
}
