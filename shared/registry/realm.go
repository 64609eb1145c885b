package registry

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/net/publicsuffix"
)

// realms decides which token services may have a registry's credential. By the
// protocol the registry names its own ("realm"), so whoever can answer for a
// registry could have the password sent to himself. Hence it must be of the
// same site as the registry, or one that the user, or we, know to belong to it.
type realms map[string][]string // by registry

// known are token services at another site than their registry.
func knownRealms() realms {
	return realms{
		"dhi.io":     {"auth.docker.io"}, // Docker Hardened Images
		".scw.cloud": {"api.scaleway.com"},
	}
}

func newRealms(services map[string]string) (realms, error) {
	r := knownRealms()
	var errs []error
	for _, host := range slices.Sorted(maps.Keys(services)) {
		h, err1 := parseHost(host)
		to, err2 := parseHost(services[host])
		if err := errors.Join(err1, err2); err != nil {
			errs = append(errs, fmt.Errorf("token service of %s: %w", host, err))
			continue
		}
		r[h] = append(r[h], to)
	}
	return r, errors.Join(errs...)
}

// check gives the address of the token service, if it may have the credential.
func (r realms) check(registry string, ch *transport.Challenge) (*url.URL, error) {
	u, err := url.Parse(ch.Parameters["realm"])
	if err != nil || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%s names a token service that is no address: %w", registry, errRealm)
	}
	if u.Scheme == "https" || u.Scheme == "http" && ch.Insecure && hostname(u.Host) == hostname(registry) {
		if r.belongs(registry, u.Host) {
			return u, nil
		}
	}
	return nil, fmt.Errorf("%s asks for its credential to be sent to the token service %s://%s: %w", familiarHost(registry), u.Scheme, u.Host, errRealm)
}

func (r realms) belongs(registry, service string) bool {
	for host, services := range r {
		if (host == registry || strings.HasPrefix(host, ".") && strings.HasSuffix(registry, host)) && slices.Contains(services, service) {
			return true
		}
	}
	return hostname(registry) == hostname(service) || sameSite(hostname(registry), hostname(service))
}

// sameSite tells whether two names are below one that somebody registered.
func sameSite(a, b string) bool {
	if isAddress(a) || isAddress(b) {
		return false
	}
	x, err1 := publicsuffix.EffectiveTLDPlusOne(a)
	y, err2 := publicsuffix.EffectiveTLDPlusOne(b)
	return err1 == nil && err2 == nil && x == y
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
