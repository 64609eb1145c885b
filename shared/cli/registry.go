package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/version"
)

// Registries are the options of a registry client by the flags of RegistryFlags,
// PullFlags or HostFlags. Where x has a flag --credential-helpers, it chooses
// among the helpers of e. An error is the user's to mend.
func Registries(x *cli.Context, e Environment) (registry.Options, error) {
	certs, err1 := KeyValues(x, "registry-certificate")
	clientCerts, err2 := KeyValues(x, "registry-client-cert")
	services, err3 := KeyValues(x, "registry-token-service")
	if err := errors.Join(err1, err2, err3); err != nil {
		return registry.Options{}, &UsageError{err}
	}
	if x.IsSet("credential-helpers") {
		e.Helpers = append([]string{}, x.StringSlice("credential-helpers")...)
	}
	keys, err := Keychain(e)
	if err != nil {
		return registry.Options{}, err
	}
	o := registry.Options{
		Keychain: keys, TokenServices: services,
		Insecure: x.Bool("insecure"), InsecurePull: x.Bool("insecure-pull"), InsecureRegistries: x.StringSlice("insecure-registry"),
		SkipTLSVerify: x.Bool("skip-tls-verify"), SkipTLSVerifyPull: x.Bool("skip-tls-verify-pull"),
		SkipTLSVerifyRegistries: x.StringSlice("skip-tls-verify-registry"),
		Mirrors:                 Given(x, "registry-mirror"), Maps: Given(x, "registry-map"),
		SkipDefaultFallback: x.Bool("skip-default-registry-fallback"),
		Certificates:        certs, ClientCerts: clientCerts, UserAgent: userAgent(os.Getenv("UPSTREAM_CLIENT_TYPE")),
		HTTP1: x.Bool("registry-http1"), Notice: e.Notice, LayerRetries: x.Int("image-fs-extract-retry"),
	}
	if n := x.Int("image-download-retry"); n > 0 {
		o.Retries = registry.DefaultRetries + n
	}
	return o, nil
}

// Client makes a registry client of options that flags gave.
func Client(o registry.Options) (*registry.Client, error) {
	client, err := registry.New(o)
	if err != nil {
		return nil, &UsageError{err}
	}
	return client, nil
}

// userAgent is what registries are told. UPSTREAM_CLIENT_TYPE names the program
// that calls this one.
func userAgent(upstream string) string {
	agent := "strake/" + version.Get().Version
	if upstream = strings.Map(printable, upstream); upstream != "" {
		agent += "," + upstream
	}
	return agent
}

// printable drops what may not stand in a header.
func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return -1
	}
	return r
}

// Given is a list without what is empty: a variable that a pipeline leaves
// empty is as good as none.
func Given(x *cli.Context, flag string) []string {
	return slices.DeleteFunc(slices.Clone(x.StringSlice(flag)), func(s string) bool { return s == "" })
}

// KeyValues reads KEY=VALUE flags. A value may have "=" in it.
func KeyValues(x *cli.Context, flag string) (map[string]string, error) {
	m := make(map[string]string)
	var errs []error
	for _, s := range Given(x, flag) {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			errs = append(errs, fmt.Errorf("--%s %s: want KEY=VALUE", flag, s))
			continue
		}
		m[k] = v
	}
	return m, errors.Join(errs...)
}
