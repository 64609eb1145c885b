package main

import (
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/manifest/internal/cosign"
)

// serviceFlags are about signing without a key of one's own, and about the
// services that vouch for signatures. Without them nobody is asked.
func serviceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "fulcio-url", EnvVars: []string{"STRAKE_FULCIO_URL"}, Category: groupSign, Usage: "`URL`: without a key: the Fulcio that certifies whom the CI system's identity token names (https://fulcio.sigstore.dev is the public one)"},
		&cli.StringFlag{Name: "rekor-url", EnvVars: []string{"STRAKE_REKOR_URL"}, Category: groupSign, Usage: "`URL`: the Rekor to log signatures in (https://rekor.sigstore.dev is the public one, which shows everybody what is signed)"},
		&cli.StringSliceFlag{Name: "timestamp-server-url", EnvVars: []string{"STRAKE_TIMESTAMP_SERVER_URL"}, Category: groupSign, Usage: "`URL`: an RFC 3161 service to timestamp signatures, with its path (repeatable)"},
		&cli.StringFlag{Name: "signing-config", EnvVars: []string{"STRAKE_SIGNING_CONFIG"}, Category: groupSign, Usage: "`FILE`: choose the services by this signing_config.json instead"},
		&cli.StringFlag{Name: "trusted-root", EnvVars: []string{"STRAKE_TRUSTED_ROOT"}, Category: groupSign, Usage: "`FILE`: verify by this trusted_root.json before anything is written; without a key this is also how signatures of the same identity are known, and not made again"},
		&cli.StringFlag{Name: "identity-token", Category: groupSign, Usage: "`TOKEN|FILE`: the identity token, or better a file that holds it (default: as the CI system gives it)"},
		&cli.StringFlag{Name: "oidc-provider", Category: groupSign, Usage: "`PROVIDER`: look for the token here only: envvar (SIGSTORE_ID_TOKEN), github-actions, buildkite-agent or filesystem"},
		&cli.StringFlag{Name: "oidc-client-id", Value: "sigstore", Category: groupSign, Usage: "`NAME`: whom the token is for, as the Fulcio calls itself"},
	}
}

// services reads which services are to vouch for signatures.
func (c *command) services(x *cli.Context, format cosign.Format) (cosign.Services, error) {
	s := cosign.Services{Fulcio: x.String("fulcio-url"), Timestamps: list(x, "timestamp-server-url")}
	if u := x.String("rekor-url"); u != "" {
		s.Logs = []cosign.Log{{URL: u, Version: 1}}
	}
	if file := x.String("signing-config"); file != "" {
		if s.Fulcio != "" || len(s.Logs)+len(s.Timestamps) > 0 {
			return s, usageError("--signing-config names the services; leave --fulcio-url, --rekor-url and --timestamp-server-url out")
		}
		var err error
		if s, err = cosign.ServicesFile(file, time.Now()); err != nil {
			return s, usageError("--signing-config %s: %w", file, err)
		}
	}
	if err := s.Check(format); err != nil {
		return s, usageError("%w", err)
	}
	return s, nil
}

// vouching gives a signer what vouches for its signatures: its key, or an
// identity, and services. Either is tried at once: a wrong password, or a token
// that is refused, should be known before anything is pushed.
func (c *command) vouching(x *cli.Context, s *cosign.Signer) error {
	var err error
	if s.Services, err = c.services(x, s.Format); err != nil {
		return err
	}
	if file := x.String("trusted-root"); file != "" {
		if s.TrustedRoot, err = cosign.TrustedRoot(file); err != nil {
			return usageError("--trusted-root %s: %w", file, err)
		}
	}
	ref := x.String("key")
	switch {
	case ref != "":
		if s.Key, err = c.keys().Signer(x.Context, ref); err != nil {
			return &keyError{err}
		}
		return nil
	case s.Services.Fulcio == "":
		return usageError("--key: none given to sign with, and no --fulcio-url to sign without one")
	}
	tokens := &cosign.Tokens{
		Given: x.String("identity-token"), Provider: x.String("oidc-provider"), Audience: x.String("oidc-client-id"),
		Lookup: os.LookupEnv, Now: time.Now,
	}
	if err := tokens.Check(); err != nil {
		return usageError("--oidc-provider %w", err)
	}
	s.Certificates = &cosign.Certificates{URL: s.Services.Fulcio, Token: tokens.Token, Now: time.Now}
	who, until, err := s.Certificates.Identity(x.Context)
	if err != nil {
		return &keyError{err}
	}
	c.log.Info().Str("issuer", who.Issuer).Msg("signing as " + who.Subject)
	if len(s.Services.Logs)+len(s.Services.Timestamps) == 0 {
		c.log.Warn().Msgf("nobody vouches for the time of signing (--rekor-url, --timestamp-server-url): the signature can be verified until the certificate ends, %s", until.UTC().Format(time.RFC3339))
	}
	return nil
}

// workflowFlags are what a certificate may have to say about a workflow on GitHub.
func workflowFlags() []cli.Flag {
	var all []cli.Flag
	for _, part := range []string{"trigger", "sha", "name", "repository", "ref"} {
		all = append(all, &cli.StringFlag{Name: "certificate-github-workflow-" + part, Category: groupSign, Usage: "`TEXT`: without a key: the " + part + " of the workflow on GitHub, as the certificate has it"})
	}
	return all
}

func workflow(x *cli.Context) cosign.Workflow {
	part := func(name string) string { return x.String("certificate-github-workflow-" + name) }
	return cosign.Workflow{Trigger: part("trigger"), SHA: part("sha"), Name: part("name"), Repository: part("repository"), Ref: part("ref")}
}
