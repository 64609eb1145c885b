package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/strake-build/strake/manifest/internal/cosign"
	"github.com/strake-build/strake/shared/merge"
	"github.com/strake-build/strake/shared/registry"
)

// keyFlags are those of everything that signs.
func keyFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "key", Category: groupSign, Usage: "`KEY`: the private key: a file, env://NAME, k8s://NAMESPACE/SECRET, gitlab://PROJECT, or a service's address; its password is in COSIGN_PASSWORD, or asked for"},
		&cli.StringFlag{Name: "signature-format", Value: "both", EnvVars: []string{"STRAKE_SIGNATURE_FORMAT"}, Category: groupSign, Usage: "`legacy|bundle|both`: legacy (cosign 1 and 2), bundle (cosign 3), or both"},
	}, serviceFlags()...)
}

func signatureFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "annotations", Aliases: []string{"a"}, Category: groupSign, Usage: "`KEY=VALUE`: KEY=VALUE to be signed along (repeatable)"},
		&cli.StringFlag{Name: "sign-container-identity", Category: groupSign, Usage: "`NAME`: the docker-reference in legacy signatures (default: the repository)"},
	}
}

// signFlags are those of commands that push an index, and may sign it.
func signFlags() []cli.Flag {
	return append(keyFlags(),
		&cli.BoolFlag{Name: "sign", Category: groupSign, Usage: "sign the index and its images, with --key or --fulcio-url, before a tag moves"},
		&cli.BoolFlag{Name: "sign-index-only", Category: groupSign, Usage: "sign the index and not its images"},
		&cli.StringSliceFlag{Name: "sign-annotation", Category: groupSign, Usage: "`KEY=VALUE`: KEY=VALUE to be signed along (repeatable)"},
		&cli.StringFlag{Name: "require-signed", Category: groupChecks, Usage: "`KEY`: take only images that this public KEY has signed"},
	)
}

// signing gives a merge its signer and verifier.
func (c *command) signing(x *cli.Context, client *registry.Client, m *merge.Merger, r *merge.Request) error {
	if ref := x.String("require-signed"); ref != "" {
		key, err := c.keys().Verifier(x.Context, ref)
		if err != nil {
			return usageError("--require-signed: %w", err)
		}
		m.Verifier = &cosign.Verifier{Registry: client, Policy: cosign.Policy{Key: key, Format: cosign.Both, IgnoreLog: true}}
	}
	if !x.Bool("sign") && !x.Bool("sign-index-only") {
		for _, flag := range []string{"key", "identity-token", "signing-config", "fulcio-url", "rekor-url"} {
			if given(x, flag) {
				return usageError("--%s: it signs nothing without --sign", flag)
			}
		}
		return nil
	}
	s, err := c.signer(x, client, "sign-annotation")
	if err != nil {
		return err
	}
	if !x.Bool("dry-run") {
		m.Signer = s
	}
	r.IndexOnly = x.Bool("sign-index-only")
	return nil
}

// given tells whether a flag stands on the command line; a variable may be set for all jobs of a pipeline.
func given(x *cli.Context, flag string) bool {
	_, isVariable := os.LookupEnv("STRAKE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_")))
	return x.IsSet(flag) && !isVariable
}

// signer makes the signer of the flags.
func (c *command) signer(x *cli.Context, client *registry.Client, annotations string) (*cosign.Signer, error) {
	format, err := cosign.ParseFormat(x.String("signature-format"))
	if err != nil {
		return nil, usageError("--signature-format: %w", err)
	}
	s := &cosign.Signer{Registry: client, Format: format, Now: time.Now, Report: c.signed}
	if annotations != "" {
		if s.Annotations, err = pairs(x, annotations); err != nil {
			return nil, usageError("%w", err)
		}
		s.Identity = x.String("sign-container-identity")
	}
	return s, c.vouching(x, s)
}

// keyError is a key that cannot be used.
type keyError struct{ err error }

func (e *keyError) Error() string { return e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

func (c *command) signed(s cosign.Signed) {
	what := "signed"
	if s.Already {
		what = "signed already"
	}
	c.log.Info().Str("format", string(s.Format)).Msgf("%s %s@%s", what, s.Repository, s.Digest)
}

// keys finds keys, and asks for passwords.
func (c *command) keys() cosign.Keys {
	return cosign.Keys{Password: c.keyPassword, Lookup: os.LookupEnv}
}

// keyPassword is where cosign finds a password: the variable, stdin where that
// is no terminal, and else the user.
func (c *command) keyPassword(confirm bool) ([]byte, error) {
	name := cosign.PasswordVariable()
	if s, ok := os.LookupEnv(name); ok {
		return []byte(s), nil
	}
	f, ok := c.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		s, err := c.line("the key's password")
		if err != nil {
			return nil, fmt.Errorf("%w; set %s, or give it on stdin", err, name)
		}
		return []byte(s), nil
	}
	first, err := c.prompt(f, "Password of the private key: ")
	if err != nil || !confirm {
		return first, err
	}
	second, err := c.prompt(f, "The same again: ")
	if err == nil && string(first) != string(second) {
		err = errors.New("the passwords differ")
	}
	return first, err
}

func (c *command) prompt(f *os.File, text string) ([]byte, error) {
	if _, err := io.WriteString(c.stderr, text); err != nil {
		return nil, err
	}
	defer fmt.Fprintln(c.stderr)
	return term.ReadPassword(int(f.Fd()))
}

// policyFlags are cosign verify's.
func policyFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "key", Category: groupSign, Usage: "`KEY`: the public key: a file, env://NAME, k8s://NAMESPACE/SECRET, gitlab://PROJECT, or a service's address"},
		&cli.StringFlag{Name: "trusted-root", Category: groupSign, Usage: "`FILE`: without a key: the trusted_root.json with the authorities and logs to trust"},
		&cli.StringFlag{Name: "certificate-identity", Category: groupSign, Usage: "`NAME`: without a key: the identity in the certificate"},
		&cli.StringFlag{Name: "certificate-identity-regexp", Category: groupSign, Usage: "`REGEXP`: or a regular expression for it"},
		&cli.StringFlag{Name: "certificate-oidc-issuer", Category: groupSign, Usage: "`URL`: without a key: who issued the identity"},
		&cli.StringFlag{Name: "certificate-oidc-issuer-regexp", Category: groupSign, Usage: "`REGEXP`: or a regular expression for it"},
		&cli.StringFlag{Name: "signature-format", Value: "both", Category: groupSign, Usage: "`legacy|bundle|both`: look for legacy, bundle, or both, of which either will do"},
		&cli.BoolFlag{Name: "insecure-ignore-tlog", Category: groupSign, Usage: "do without an entry in a transparency log; with a key there is none to be checked unless --trusted-root names a log"},
		&cli.BoolFlag{Name: "insecure-ignore-sct", Category: groupSign, Usage: "do without the certificate's own entry in a log"},
		&cli.BoolFlag{Name: "use-signed-timestamps", Category: groupSign, Usage: "want a signed timestamp"},
		&cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, Category: groupSign, Usage: "verify the images of an index, too"},
		&cli.StringSliceFlag{Name: "bundle", Category: groupSign, Usage: "`FILE`: look at the Sigstore bundles in this file (- for stdin), and not at what the registry has beside the image (repeatable)"},
	}, workflowFlags()...)
}

// policy makes the policy of the flags.
func (c *command) policy(x *cli.Context) (cosign.Policy, error) {
	p := cosign.Policy{IgnoreLog: x.Bool("insecure-ignore-tlog"), IgnoreSCT: x.Bool("insecure-ignore-sct"), Timestamps: x.Bool("use-signed-timestamps")}
	var err error
	if p.Format, err = cosign.ParseFormat(x.String("signature-format")); err != nil {
		return p, usageError("--signature-format: %w", err)
	}
	if file := x.String("trusted-root"); file != "" {
		if p.TrustedRoot, err = cosign.TrustedRoot(file); err != nil {
			return p, usageError("--trusted-root %s: %w", file, err)
		}
	}
	p.Identity = cosign.Identity{
		Subject: x.String("certificate-identity"), SubjectRegExp: x.String("certificate-identity-regexp"),
		Issuer: x.String("certificate-oidc-issuer"), IssuerRegExp: x.String("certificate-oidc-issuer-regexp"),
	}
	p.GitHub = workflow(x)
	if ref := x.String("key"); ref != "" {
		if p.Identity != (cosign.Identity{}) || p.GitHub != (cosign.Workflow{}) {
			return p, usageError("--key and --certificate-…: give one")
		}
		// Without a log to trust there is none to ask.
		p.IgnoreLog = p.IgnoreLog || p.TrustedRoot == nil
		if p.Key, err = c.keys().Verifier(x.Context, ref); err != nil {
			return p, &keyError{err}
		}
		return p, nil
	}
	switch {
	case p.TrustedRoot == nil:
		return p, usageError("give --key, or --trusted-root with --certificate-identity and --certificate-oidc-issuer")
	case p.Identity.Subject == "" && p.Identity.SubjectRegExp == "":
		return p, usageError("--certificate-identity or --certificate-identity-regexp: whose signature is wanted?")
	case p.Identity.Issuer == "" && p.Identity.IssuerRegExp == "":
		return p, usageError("--certificate-oidc-issuer or --certificate-oidc-issuer-regexp: whose word is it who signed?")
	}
	return p, nil
}

// bundles reads those of the flags; nil for those of the registry.
func (c *command) bundles(x *cli.Context) (all cosign.Given, err error) {
	for _, file := range list(x, "bundle") {
		b, err := c.readFile(file)
		if err != nil {
			return nil, err
		}
		some, err := cosign.ReadBundles(file, b)
		if err != nil {
			return nil, usageError("--bundle %s: %w", file, err)
		}
		all = append(all, some...)
	}
	return all, nil
}

// below are a document and, if it is an index and all is set, its images: what
// is signed or verified.
func below(doc *registry.Document, all bool) []v1.Descriptor {
	ds := []v1.Descriptor{doc.Descriptor}
	if doc.Index == nil || !all {
		return ds
	}
	for _, d := range doc.Index.Manifests {
		if d.Annotations["vnd.docker.reference.type"] == "" {
			ds = append(ds, d)
		}
	}
	return ds
}
