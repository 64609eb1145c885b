package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/manifest/internal/cosign"
	"github.com/strake-build/strake/shared/merge"
	"github.com/strake-build/strake/shared/registry"
)

func (c *command) signCommand() *cli.Command {
	return &cli.Command{
		Name: "sign", Usage: "sign images and indexes that are in a registry", ArgsUsage: "REFERENCE…", OnUsageError: c.usage,
		Flags: flags(keyFlags(), signatureFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, Value: true, Category: groupSign, Usage: "of an index, sign the images, too; --recursive=false does not"},
		}),
		Action: c.run(1, -1, func(x *cli.Context) error {
			return c.signAll(x, "annotations", func(s *cosign.Signer, doc *registry.Document) error {
				return merge.Each(x.Context, below(doc, x.Bool("recursive")), func(ctx context.Context, d v1.Descriptor) error {
					return s.Sign(ctx, doc.Repository, d)
				})
			})
		}),
	}
}

func (c *command) attestCommand() *cli.Command {
	return &cli.Command{
		Name: "attest", Usage: "sign a statement about images and indexes", ArgsUsage: "REFERENCE…", OnUsageError: c.usage,
		Flags: flags(keyFlags(), []cli.Flag{
			&cli.StringFlag{Name: "predicate", Category: groupSign, Usage: "`FILE`: the file with the predicate, JSON, or with a statement, as executor --attestation-to dir=DIR writes it; - for stdin"},
			&cli.StringFlag{Name: "type", Value: "custom", Category: groupSign, Usage: "`TYPE`: its type: a URI, or cosign's short name (slsaprovenance1, spdxjson, cyclonedx, …)"},
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, Category: groupSign, Usage: "attest the images of an index, too"},
		}),
		Action: c.run(1, -1, c.attest),
	}
}

func (c *command) attest(x *cli.Context) error {
	kind, err := cosign.PredicateType(x.String("type"))
	if err != nil {
		return usageError("--type: %w", err)
	}
	file := x.String("predicate")
	if file == "" {
		return usageError("--predicate: none given")
	}
	predicate, err := c.readFile(file)
	if err != nil {
		return err
	}
	if !json.Valid(predicate) {
		return usageError("--predicate %s: it is no JSON", file)
	}
	st, err := statementOf(predicate)
	if err == nil && st != nil {
		if !x.IsSet("type") {
			kind = st.PredicateType
		}
		predicate, err = st.Predicate, st.ofType(kind)
	}
	if err != nil {
		return usageError("--predicate %s: %w", file, err)
	}
	return c.signAll(x, "", func(s *cosign.Signer, doc *registry.Document) error {
		return merge.Each(x.Context, below(doc, x.Bool("recursive")), func(ctx context.Context, d v1.Descriptor) error {
			if err := st.about(d.Digest); err != nil {
				return usageError("--predicate %s: %w", file, err)
			}
			return s.Attest(ctx, doc.Repository, d, kind, predicate)
		})
	})
}

// signAll resolves each reference once, and prints the digest of each.
func (c *command) signAll(x *cli.Context, annotations string, sign func(*cosign.Signer, *registry.Document) error) error {
	refs := x.Args().Slice()
	client, err := c.client(x, refs...)
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := c.signer(x, client, annotations)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		doc, err := client.Document(x.Context, ref)
		if err != nil {
			return err
		}
		if err := sign(s, doc); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "%s@%s\n", doc.Repository, doc.Descriptor.Digest)
	}
	return nil
}

func (c *command) verifyCommand() *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "verify the signatures of images and indexes, without asking anybody but the registry", ArgsUsage: "REFERENCE…", OnUsageError: c.usage,
		Flags: flags(policyFlags(), []cli.Flag{
			&cli.StringSliceFlag{Name: "annotations", Aliases: []string{"a"}, Category: groupSign, Usage: "`KEY=VALUE`: KEY=VALUE that must be signed along (repeatable)"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "json", Category: groupOutput, Usage: "`json|text`: json: what was signed; text: REPOSITORY@DIGEST"},
		}),
		Action: c.run(1, -1, func(x *cli.Context) error {
			annotations, err := pairs(x, "annotations")
			if err != nil {
				return usageError("%w", err)
			}
			return c.verifyAll(x, annotations, func(v *cosign.Verifier, doc *registry.Document, i int) ([]cosign.Verified, error) {
				return v.Signatures(x.Context, doc.Repository, below(doc, true)[i].Digest)
			})
		}),
	}
}

func (c *command) verifyAttestationCommand() *cli.Command {
	return &cli.Command{
		Name: "verify-attestation", Usage: "verify statements about images and indexes", ArgsUsage: "REFERENCE…", OnUsageError: c.usage,
		Flags: flags(policyFlags(), []cli.Flag{
			&cli.StringFlag{Name: "type", Value: "custom", Category: groupSign, Usage: "`TYPE`: the type of the predicate: a URI, or cosign's short name"},
			&cli.StringSliceFlag{Name: "condition", Category: groupSign, Usage: "`CONDITION`: what the statement must say: PATH, or PATH ==|!=|=~ VALUE, such as '$.predicate.buildType == https://…' (repeatable)"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "json", Category: groupOutput, Usage: "`json|text`: json: the statements; text: REPOSITORY@DIGEST"},
		}),
		Action: c.run(1, -1, func(x *cli.Context) error {
			kind, err := cosign.PredicateType(x.String("type"))
			if err != nil {
				return usageError("--type: %w", err)
			}
			var conditions []cosign.Condition
			for _, s := range list(x, "condition") {
				cond, err := cosign.ParseCondition(s)
				if err != nil {
					return usageError("--condition: %w", err)
				}
				conditions = append(conditions, cond)
			}
			return c.verifyAll(x, nil, func(v *cosign.Verifier, doc *registry.Document, i int) ([]cosign.Verified, error) {
				return v.Attestations(x.Context, doc.Repository, below(doc, true)[i].Digest, kind, conditions)
			})
		}),
	}
}

// verifyAll verifies all references before it prints about any.
func (c *command) verifyAll(x *cli.Context, annotations map[string]string, verify func(v *cosign.Verifier, doc *registry.Document, i int) ([]cosign.Verified, error)) error {
	output := x.String("output")
	if output != "json" && output != "text" {
		return usageError("--output %s: it is json or text", output)
	}
	policy, err := c.policy(x)
	if err != nil {
		return err
	}
	policy.Annotations = annotations
	given, err := c.bundles(x)
	if err != nil {
		return err
	}
	refs := x.Args().Slice()
	client, err := c.client(x, refs...)
	if err != nil {
		return err
	}
	defer client.Close()
	v := &cosign.Verifier{Registry: client, Policy: policy, Given: given}
	payloads := []json.RawMessage{}
	var names []string
	for _, ref := range refs {
		doc, err := client.Document(x.Context, ref)
		if errors.Is(err, registry.ErrNotFound) {
			return fmt.Errorf("%w: %w", cosign.ErrNoTag, err)
		}
		if err != nil {
			return err
		}
		for i, d := range below(doc, x.Bool("recursive")) {
			found, err := verify(v, doc, i)
			if err != nil {
				return err
			}
			for _, f := range found {
				c.log.Info().Str("format", string(f.Format)).Str("where", f.Where).Msgf("verified %s@%s", doc.Repository, d.Digest)
				payloads = append(payloads, f.Payload)
			}
		}
		names = append(names, doc.Repository+"@"+doc.Descriptor.Digest.String())
	}
	if output == "json" {
		return json.NewEncoder(c.stdout).Encode(payloads)
	}
	for _, n := range names {
		fmt.Fprintln(c.stdout, n)
	}
	return nil
}

func (c *command) generateCommand() *cli.Command {
	return &cli.Command{
		Name: "generate-key-pair", Usage: "make a pair of keys, as cosign does", ArgsUsage: "flags only", OnUsageError: c.usage,
		Flags: flags([]cli.Flag{prefixFlag()}),
		Action: c.run(0, 0, func(x *cli.Context) error {
			return c.writePair(x, func() (*cosign.Pair, error) { return c.keys().Generate() })
		}),
	}
}

func (c *command) importCommand() *cli.Command {
	return &cli.Command{
		Name: "import-key-pair", Usage: "encrypt a private key that is in the clear (PKCS #8, PKCS #1, SEC 1)", ArgsUsage: "flags only", OnUsageError: c.usage,
		Flags: flags([]cli.Flag{prefixFlag(), &cli.StringFlag{Name: "key", Usage: "`KEY`: the file with the private key, PEM"}}),
		Action: c.run(0, 0, func(x *cli.Context) error {
			if x.String("key") == "" {
				return usageError("--key: none given")
			}
			return c.writePair(x, func() (*cosign.Pair, error) { return c.keys().Import(x.String("key")) })
		}),
	}
}

func prefixFlag() cli.Flag {
	return &cli.StringFlag{Name: "output-key-prefix", Value: "cosign", Category: groupOutput, Usage: "`PREFIX`: write PREFIX.key and PREFIX.pub"}
}

// writePair never writes over a key.
func (c *command) writePair(x *cli.Context, create func() (*cosign.Pair, error)) error {
	prefix := x.String("output-key-prefix")
	for _, end := range []string{".key", ".pub"} {
		if _, err := os.Lstat(prefix + end); err == nil {
			return usageError("%s exists; keys are not written over", prefix+end)
		}
	}
	pair, err := create()
	if err != nil {
		return err
	}
	if err := writeNew(prefix+".key", pair.Private, 0o600); err != nil {
		return err
	}
	if err := writeNew(prefix+".pub", pair.Public, 0o644); err != nil {
		return err
	}
	c.log.Info().Msgf("wrote %s.key and %s.pub", prefix, prefix)
	return nil
}

func writeNew(name string, b []byte, mode os.FileMode) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.Write(b)
	return err
}
