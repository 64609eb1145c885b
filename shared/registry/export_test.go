package registry

import (
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Hurry makes pauses and limits short enough for tests.
func (c *Client) Hurry() *Client {
	c.retry.base, c.retry.obey, c.retry.header, c.stall = 2*time.Millisecond, 2*time.Second, 300*time.Millisecond, 300*time.Millisecond
	return c
}

// Candidates gives the places where a reference is looked for.
func (c *Client) Candidates(ref string) ([]string, error) {
	r, err := parseReference(ref)
	if err != nil {
		return nil, err
	}
	cs, err := c.routes.candidates(r.place)
	var s []string
	for _, p := range cs {
		s = append(s, p.place.String())
	}
	return s, err
}

// Parse gives a reference in full.
func Parse(ref string) (string, error) {
	r, err := parseReference(ref)
	return r.String(), err
}

// LongestDocument is the limit for manifests and configs.
const LongestDocument = longestDocument

// MayLead tells whether a registry may send us from one address to another.
func MayLead(from, to string) error {
	f, err1 := url.Parse(from)
	u, err2 := url.Parse(to)
	if err1 != nil || err2 != nil {
		panic("not a URL")
	}
	return mayLead(f, u)
}

// CheckRealm tells whether a token service may have a registry's credential.
func CheckRealm(services map[string]string, registry, realm string, plain bool) error {
	r, err := newRealms(services)
	if err != nil {
		return err
	}
	_, err = r.check(registry, &transport.Challenge{Parameters: map[string]string{"realm": realm}, Insecure: plain})
	return err
}

// Patient waits for answers that take long to make, on a machine that has more to do.
func (c *Client) Patient() *Client {
	c.retry.header, c.stall = time.Minute, time.Minute
	return c
}
