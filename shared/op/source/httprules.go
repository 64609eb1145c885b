package source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// redirectError is a redirect that we do not follow.
type redirectError struct{ to, why string }

func (e *redirectError) Error() string { return fmt.Sprintf("redirect to %s: %s", e.to, e.why) }

// careful is c with our rules for redirects before its own.
func careful(c *http.Client) *http.Client {
	var out http.Client
	if c != nil {
		out = *c
	}
	own := out.CheckRedirect
	out.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		from, to := via[len(via)-1].URL, req.URL
		if first := via[0].URL; to.Scheme != first.Scheme || to.Host != first.Host {
			// net/http would take the credentials along to another port.
			req.Header.Del("Authorization")
			req.Header.Del("Cookie")
		}
		switch {
		case from.Scheme == "https" && to.Scheme != "https":
			return &redirectError{bare(to.String()), "would leave https"}
		case isLinkLocal(to.Hostname()) && !isLinkLocal(from.Hostname()):
			// Clouds keep the machine's own credentials there.
			return &redirectError{bare(to.String()), "a link-local address"}
		case own != nil:
			return own(req, via)
		case len(via) >= 10:
			return &redirectError{bare(to.String()), "the tenth in a row"}
		}
		return nil
	}
	return &out
}

func isLinkLocal(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLinkLocalUnicast()
}

// mayPass is an error with what is known about trying again.
type mayPass struct {
	err   error
	when  bool
	after string // Retry-After (RFC 9110, 10.2.3)
}

func (e *mayPass) Error() string { return e.err.Error() }
func (e *mayPass) Unwrap() error { return e.err }

// ErrUnavailable is in the chain of errors about servers that did not answer, or
// answered that something is wrong with them, each time they were asked.
var ErrUnavailable = errors.New("unavailable")

// unavailable is what was tried again in vain.
type unavailable struct{ err error }

func (e *unavailable) Error() string   { return e.err.Error() }
func (e *unavailable) Unwrap() []error { return []error{ErrUnavailable, e.err} }

// passes tells whether a status may be another one soon.
func passes(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func isTemporary(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && (dns.IsTemporary || dns.IsTimeout)
}

func isUntrusted(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

// attempts and firstPause make for about two seconds of patience.
const (
	attempts   = 4
	firstPause = 250 * time.Millisecond
	maxPause   = 10 * time.Second
)

// again calls try until it succeeds, or fails for a reason that stays.
func again(ctx context.Context, try func(context.Context) error) error {
	pause := firstPause
	for n := 1; ; n++ {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p, ok := errors.AsType[*mayPass](err)
		if !ok {
			return err
		}
		switch {
		case !p.when:
			return p.err
		case n == attempts:
			return &unavailable{p.err}
		}
		wait := pause/2 + rand.N(pause)
		if s, err := strconv.Atoi(p.after); err == nil && s > 0 {
			wait = min(max(wait, time.Duration(s)*time.Second), maxPause)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		pause *= 2
	}
}

// bare is a URL without user information and query, for people to read: signed
// links have their signature there.
func bare(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		if _, rest, ok := strings.Cut(raw, "@"); ok {
			return rest
		}
		return raw
	}
	u.User, u.RawQuery, u.ForceQuery = nil, "", false
	return u.String()
}

// fileName is what a fetched file is called. Names with a meaning for the file
// system, or for a terminal, become "download", as in BuildKit.
func fileName(rawURL, given string, h http.Header) string {
	if given != "" {
		return safeName(given)
	}
	if _, params, err := mime.ParseMediaType(h.Get("Content-Disposition")); err == nil {
		if name := params["filename"]; name != "" && !strings.HasSuffix(name, "/") {
			return safeName(name)
		}
	}
	if u, err := url.Parse(rawURL); err == nil {
		return safeName(path.Base(u.Path))
	}
	return safeName("")
}

func safeName(s string) string {
	name := path.Base(strings.TrimSpace(s))
	if name == "." || name == ".." || name == "/" || len(name) > 255 || strings.ContainsFunc(name, unicode.IsControl) {
		return "download"
	}
	return name
}
