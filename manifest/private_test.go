package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/strake-build/strake/manifest/internal/sigstoretest"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// privately is who signs and attests one image with a private Sigstore, and how.
type privately struct {
	name, format string
	rekor        uint32 // its version
	cosign       string // the program; empty for ours
	ref          string
}

// cosigns are the programs that scripts/cosign has compiled.
func cosigns(t *testing.T) []string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	all, _ := filepath.Glob(filepath.Join(cache, "strake", "cosign-v*", "cosign"))
	return all
}

// TestPrivateSigstore signs without a key with the real Fulcio, Rekor (both versions) and timestamp authority, by our
// program and by cosign 2 and 3. Then all of these end, and everybody verifies what the others have signed.
func TestPrivateSigstore(t *testing.T) {
	p := sigstoretest.NewPrivate(t)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	s := registrytest.New(t)
	dir := t.TempDir()
	trusted, predicate := p.TrustedRootFile(dir), filepath.Join(dir, "p.json")
	if err := os.WriteFile(predicate, []byte(`{"n": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	// What cosign's older commands want to know is in variables.
	env := append(os.Environ(), "SIGSTORE_NO_CACHE=1", "HOME="+dir)
	env = append(env, p.Variables(dir)...)
	services := map[uint32]string{1: p.SigningConfigFile(dir, 1), 2: p.SigningConfigFile(dir, 2)}
	cosign := func(t *testing.T, bin string, args ...string) (string, error) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), bin, append(args, "--allow-http-registry")...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		return string(out), err
	}

	all := []privately{{"ours-legacy", "legacy", 1, "", ""}, {"ours-bundle", "bundle", 1, "", ""}, {"ours-tiles", "bundle", 2, "", ""}}
	for _, bin := range cosigns(t) {
		name := filepath.Base(filepath.Dir(bin))
		all = append(all, privately{name + "-legacy", "legacy", 1, bin, ""}, privately{name + "-bundle", "bundle", 1, bin, ""})
		if strings.HasPrefix(name, "cosign-v3") {
			all = append(all, privately{name + "-tiles", "bundle", 2, bin, ""})
		}
	}
	attestation := []string{"attest", "--type", "https://example.com/x", "--predicate", predicate}
	for i := range all {
		one := &all[i]
		s.Push(t, "app:"+one.name, registrytest.Image(t, "linux/amd64"))
		one.ref = s.Ref("app:" + one.name)
		if one.cosign == "" {
			t.Setenv("SIGSTORE_ID_TOKEN", p.Token())
			flags := []string{"--signature-format", one.format, "--signing-config", services[one.rekor], "--trusted-root", trusted, one.ref}
			execute(t, append([]string{"sign"}, flags...)...)
			execute(t, append(attestation, flags...)...)
			// Another job of the same workflow finds that it has signed, though Fulcio has given it another certificate.
			var said bytes.Buffer
			t.Setenv("SIGSTORE_ID_TOKEN", p.Token())
			if code := Main(t.Context(), append([]string{"manifest", "sign"}, flags...), os.Environ(), strings.NewReader(""), &bytes.Buffer{}, &said); code != 0 || !strings.Contains(said.String(), "signed already") {
				t.Errorf("%s: signed twice: exit code %d\n%s", one.name, code, said.String())
			}
			continue
		}
		flags := []string{"-y", "--identity-token", p.Token(), fmt.Sprintf("--new-bundle-format=%t", one.format == "bundle")}
		if one.format == "bundle" {
			flags = append(flags, "--signing-config", services[one.rekor], "--trusted-root", trusted)
		} else {
			flags = append(flags, "--fulcio-url", p.Fulcio, "--rekor-url", p.Rekor, "--timestamp-server-url", p.Timestamps)
			if strings.Contains(one.cosign, "cosign-v3") {
				flags = append(flags, "--use-signing-config=false")
			}
		}
		for _, command := range [][]string{{"sign"}, attestation} {
			if command[0] == "attest" && one.format == "legacy" && strings.Contains(one.cosign, "cosign-v3") {
				// It has the signature timestamped, where every reader, itself included, wants the envelope to be.
				flags = slices.DeleteFunc(flags, func(s string) bool { return s == "--timestamp-server-url" || s == p.Timestamps })
			}
			if out, err := cosign(t, one.cosign, append(append(slices.Clone(command), flags...), one.ref)...); err != nil {
				t.Fatalf("%s: cosign %s: %v\n%s", one.name, command[0], err, out)
			}
		}
	}

	p.Stop()
	whose := func(workflow string) []string {
		return []string{"--trusted-root", trusted, "--certificate-identity", workflow, "--certificate-oidc-issuer", p.Issuer}
	}
	right, wrong := whose(sigstoretest.Workflow), whose(sigstoretest.Workflow+"x")
	for _, one := range all {
		t.Run("manifest/"+one.name, func(t *testing.T) {
			commands := [][]string{{"verify"}, {"verify", "--use-signed-timestamps"}, {"verify-attestation", "--type", "https://example.com/x", "--condition", "$.predicate.n == 1"}}
			for _, command := range commands {
				command = append(command, "--signature-format", one.format)
				execute(t, append(append(slices.Clone(command), right...), "--certificate-github-workflow-repository", sigstoretest.Repository, one.ref)...)
				for _, refused := range [][]string{wrong, append(slices.Clone(right), "--certificate-github-workflow-repository", "acme/other")} {
					if code := Main(t.Context(), append(append(append([]string{"manifest"}, command...), refused...), one.ref), os.Environ(), strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}); code != 12 {
						t.Errorf("%v as another's: exit code %d", command, code)
					}
				}
			}
		})
		for _, bin := range cosigns(t) {
			name := filepath.Base(filepath.Dir(bin))
			if one.cosign != "" || one.rekor > 1 && strings.HasPrefix(name, "cosign-v2") {
				continue // theirs, and cosign 2 is older than tiles
			}
			t.Run(name+"/"+one.name, func(t *testing.T) {
				calls := [][]string{{"verify"}, {"verify", "--use-signed-timestamps"}, {"verify-attestation", "--type", "https://example.com/x"}}
				if one.format == "legacy" && strings.HasPrefix(name, "cosign-v2") {
					calls = calls[:2] // it takes no trusted root for such attestations
				}
				for _, call := range calls {
					call = append(call, fmt.Sprintf("--new-bundle-format=%t", one.format == "bundle"))
					if out, err := cosign(t, bin, append(append(slices.Clone(call), right...), one.ref)...); err != nil {
						t.Errorf("%v: %v\n%s", call, err, out)
					}
					if out, err := cosign(t, bin, append(append(slices.Clone(call), wrong...), one.ref)...); err == nil {
						t.Errorf("%v takes it for another identity's\n%s", call, out)
					}
				}
			})
		}
	}
}
