package merge

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cosigns are the pinned ones. They are compiled by scripts/cosign only, as that takes minutes.
func cosigns(t *testing.T) map[string]string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, version := range []string{"v2", "v3"} {
		if found, _ := filepath.Glob(filepath.Join(cache, "strake", "cosign-"+version+"*", "cosign")); len(found) > 0 {
			all[version] = found[len(found)-1]
		}
	}
	if len(all) == 0 {
		t.Skip("cosign is not compiled: scripts/cosign install")
	}
	return all
}

// eachCosign runs a test with every version and format. The bed is shared, the name is not.
func eachCosign(t *testing.T, test func(b *bed, bin, version, format, name string)) {
	t.Helper()
	b := newBed(t)
	b.write("root.json", `{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`)
	b.write("services.json", `{"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"}`)
	b.write("predicate.json", `{"buildDefinition": {"buildType": "x"}, "runDetails": {"builder": {"id": "y"}}}`)
	b.index()
	for version, bin := range cosigns(t) {
		for _, format := range []string{"legacy", "bundle"} {
			t.Run(version+"/"+format, func(t *testing.T) {
				test(&bed{t, b.dir, b.manifest, b.registry}, bin, version, format, version+"-"+format)
			})
		}
	}
}

func (b *bed) write(name, content string) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
}

// unsigned makes an index of its own: where cosign sees a bundle, it reads nothing else.
func (b *bed) unsigned(name string) string {
	b.Helper()
	return strings.TrimSpace(b.run(b.manifest, "annotate", b.registry+"/app:1", "--annotation", "name="+name, "-t", b.registry+"/app:"+name))
}

// TestCosignReads: the real cosign, 2 and 3, verifies what we sign and attest, in both formats.
func TestCosignReads(t *testing.T) {
	eachCosign(t, func(b *bed, bin, version, format, name string) {
		ref := b.unsigned("ours-" + name)
		b.run(b.manifest, "sign", "--key", "cosign.key", "--signature-format", format, "-a", "by=us", "--recursive=false", ref)
		b.run(b.manifest, "attest", "--key", "cosign.key", "--signature-format", format, "--type", "slsaprovenance1", "--predicate", "predicate.json", ref)
		// cosign wants to know whom to trust even where a key is all that counts.
		common := []string{"--key", "cosign.pub", "--insecure-ignore-tlog", "--allow-http-registry", fmt.Sprintf("--new-bundle-format=%t", format == "bundle")}
		if format == "bundle" {
			common = append(common, "--trusted-root", "root.json")
		}
		if out := b.run(bin, append(append([]string{"verify", "-a", "by=us"}, common...), ref)...); !strings.Contains(out, strings.TrimPrefix(ref[strings.Index(ref, "@"):], "@sha256:")) {
			b.Errorf("cosign verified\n%s", out)
		}
		b.run(bin, append(append([]string{"verify-attestation", "--type", "slsaprovenance1"}, common...), ref)...)
		b.run(b.manifest, "generate-key-pair", "--output-key-prefix", "other-"+name)
		common[1] = "other-" + name + ".pub"
		if _, _, code := b.command(bin, append(append([]string{"verify"}, common...), ref)...); code == 0 {
			b.Error("cosign takes it for another key's")
		}
	})
}

// TestCosignWrites: we verify what the real cosign, 2 and 3, signs and attests, in both formats.
func TestCosignWrites(t *testing.T) {
	eachCosign(t, func(b *bed, bin, version, format, name string) {
		ref := b.unsigned("theirs-" + name)
		b.run(bin, "generate-key-pair", "--output-key-prefix", name)
		sign := []string{"--key", name + ".key", "--allow-http-registry", "-y", fmt.Sprintf("--new-bundle-format=%t", format == "bundle")}
		if version == "v3" && format == "bundle" {
			sign = append(sign, "--signing-config", "services.json", "--trusted-root", "root.json")
		} else {
			sign = append(sign, "--tlog-upload=false")
			if version == "v3" {
				sign = append(sign, "--use-signing-config=false")
			}
		}
		b.run(bin, append(append([]string{"sign", "-r", "-a", "by=them"}, sign...), ref)...)
		verify := []string{"verify", "--key", name + ".pub", "-r", "--signature-format", format, ref}
		b.run(b.manifest, verify...)
		// Version 2 leaves annotations out of bundles.
		if _, errs, code := b.command(b.manifest, append(verify, "-a", "by=them")...); (code == 0) == (version == "v2" && format == "bundle") {
			b.Errorf("with annotations: exit code %d\n%s", code, errs)
		}
		if _, errs, code := b.command(b.manifest, "verify", "--key", "cosign.pub", "--signature-format", format, ref); code != 12 {
			b.Errorf("a signature by another key: exit code %d\n%s", code, errs)
		}
		// Their key signs with our program, too, and finds that it has signed.
		if _, errs, code := b.command(b.manifest, "sign", "--key", name+".key", "--signature-format", format, ref); code != 0 || strings.Count(errs, "signed already") != 3 {
			b.Errorf("signed twice: %d\n%s", code, errs)
		}
		b.run(bin, append(append([]string{"attest", "--type", "https://example.com/x", "--predicate", "predicate.json"}, sign...), ref)...)
		b.run(b.manifest, "verify-attestation", "--key", name+".pub", "--type", "https://example.com/x", "--signature-format", format, "--condition", "$.predicate.runDetails.builder.id == y", ref)
		// An attestation is no signature.
		if format == "bundle" {
			other := b.unsigned("attested-" + name)
			b.run(bin, append(append([]string{"attest", "--type", "https://example.com/x", "--predicate", "predicate.json"}, sign...), other)...)
			if _, errs, code := b.command(b.manifest, "verify", "--key", name+".pub", other); code != 10 {
				b.Errorf("an attestation is taken for a signature: %d\n%s", code, errs)
			}
		}
	})
}
