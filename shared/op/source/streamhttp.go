package source

import (
	"context"
	"net/http"
	"net/url"
)

// Careful is c, or a plain client where that is nil, with our rules for
// redirects before its own: none from https to http, none to link-local
// addresses, and no credentials to another host, port or scheme.
func Careful(c *http.Client) *http.Client { return careful(c) }

// Bare is a URL without user information, for people to read.
func Bare(raw string) string { return bare(raw) }

// OpenerOf opens an object by requests that build makes. It gets the headers
// of Range, to set and to sign them.
func OpenerOf(name string, c *http.Client, build func(ctx context.Context, h http.Header) (*http.Request, error)) Opener {
	return func(ctx context.Context, from int64, tag string) (*Part, error) {
		h := http.Header{}
		Range(h, from, tag)
		req, err := build(ctx, h)
		if err != nil {
			return nil, err
		}
		resp, err := c.Do(req)
		if err != nil {
			return nil, err
		}
		return PartOf(name, resp, from, tag)
	}
}

// OpenHTTP opens what a web server has at a URL as a stream. Of r the fields
// URL, Header, AuthSecret and Secrets count.
func OpenHTTP(ctx context.Context, c *http.Client, r HTTPRequest) (*Stream, error) {
	u, err := url.Parse(r.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errNotHTTP(r.URL)
	}
	f := &fetch{HTTPRequest: r, url: u, client: careful(c)}
	if err := f.authorize(); err != nil {
		return nil, err
	}
	name := bare(r.URL)
	open := OpenerOf(name, f.client, func(ctx context.Context, h http.Header) (*http.Request, error) {
		req, err := f.request(ctx)
		if err != nil {
			return nil, Permanent(err)
		}
		for k, v := range h {
			req.Header[k] = v
		}
		// Parts of what was compressed on the way are parts of nothing.
		req.Header.Set("Accept-Encoding", "identity")
		return req, nil
	})
	return OpenStream(ctx, name, open)
}
