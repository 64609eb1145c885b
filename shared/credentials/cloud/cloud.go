// Package cloud gets credentials for the registries of Amazon, Google and Azure, each from the identity the build runs under.
//
// What they take for an identity (variables, files, metadata services) is read
// by the clouds' own libraries, as their documents describe. They are asked for
// registries of theirs only, and for a few seconds at most: a build elsewhere is
// not held up by a metadata service that is not there.
package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/strake-build/strake/shared/credentials"
)

// Options are common to all clouds. The zero value is the usual choice.
type Options struct {
	// Proxy chooses the proxy for a request; nil means none. Metadata services
	// are never asked through one.
	Proxy func(*http.Request) (*url.URL, error)
	// Limit is how long getting a credential may take; zero means ten seconds.
	Limit time.Duration
}

// The names of the clouds, as --credential-helpers has them.
const (
	Amazon = "ecr"
	Google = "google"
	Azure  = "acr"
)

// All makes a provider for each cloud.
func All(o Options) map[string]credentials.Provider {
	if o.Limit == 0 {
		o.Limit = 10 * time.Second
	}
	c := &http.Client{Transport: o.transport(), CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("a cloud's API does not redirect")
	}}
	return map[string]credentials.Provider{
		Amazon: &provider{name: Amazon, limit: o.Limit, serves: isAmazon, get: (&amazon{proxy: o.proxy}).get},
		Google: &provider{name: Google, limit: o.Limit, serves: isGoogle, get: (&google{http: c}).get},
		Azure:  &provider{name: Azure, limit: o.Limit, serves: isAzure, get: (&azure{http: c}).get},
	}
}

// Builtin gives the providers by the names that config files have for the
// clouds' credential programs.
func Builtin(all map[string]credentials.Provider) map[string]credentials.Provider {
	m := make(map[string]credentials.Provider)
	for name, cloud := range map[string]string{
		"ecr-login": Amazon, "gcr": Google, "gcloud": Google, "acr-env": Azure, "acr": Azure, "acr-linux": Azure,
	} {
		if p, ok := all[cloud]; ok {
			m[name] = p
		}
	}
	return m
}

func (o Options) transport() *http.Transport {
	return &http.Transport{
		Proxy:               o.proxy,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		ForceAttemptHTTP2:   true,
	}
}

func (o Options) proxy(req *http.Request) (*url.URL, error) { return Direct(o.Proxy)(req) }

// Direct has metadata services asked directly, whatever proxy says. A nil proxy
// means that all are.
func Direct(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(req *http.Request) (*url.URL, error) {
		if proxy == nil || isMetadata(req.URL.Hostname()) {
			return nil, nil
		}
		return proxy(req)
	}
}

// isMetadata tells whether a host is one that clouds answer at inside a machine.
func isMetadata(host string) bool {
	if host == "metadata.google.internal" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.IsLinkLocalUnicast() || ip.IsLoopback() || ip == netip.MustParseAddr("fd00:ec2::254"))
}

// label tells whether s is one or more labels of a host name, without a port.
func label(s string) bool {
	return s != "" && !strings.ContainsAny(s, ":/@[]%") && !strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".")
}

// below tells whether host is a name below domain.
func below(host, domain string) bool {
	rest, ok := strings.CutSuffix(host, "."+domain)
	return ok && label(rest)
}

// none says that there is no identity here, which is nothing unusual.
func none(err error) error { return fmt.Errorf("%w: %w", credentials.ErrNone, err) }

// doer is an HTTP client.
type doer interface {
	Do(*http.Request) (*http.Response, error)
}

// longestAnswer is far more than a token needs.
const longestAnswer = 1 << 20

// ask sends a request and reads the JSON answer. An error never quotes it.
func ask(c doer, req *http.Request, answer any) error {
	resp, err := c.Do(req)
	if err != nil {
		// A URL's error names the URL, which has no secret here.
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, longestAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", req.Method, req.URL.Host, resp.Status)
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(answer); err != nil {
		return fmt.Errorf("%s %s: the answer is not the JSON that was expected", req.Method, req.URL.Host)
	}
	return nil
}

// within calls f and returns when it does, or when the limit is over: some of
// the clouds' libraries ask for things without a context. What is then still
// going on ends by itself, and nobody hears of it.
func within[T any](ctx context.Context, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer cancel()
		v, err := f(ctx)
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var zero T
		select {
		case r := <-done:
			return r.v, r.err
		default:
			return zero, fmt.Errorf("no answer within %v", limit)
		}
	}
}
