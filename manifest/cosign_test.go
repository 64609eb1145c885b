package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/manifest/internal/sigstoretest"
)

// TestCosignReadsKeyless: the real cosign, 2 and 3, verifies what we sign and attest without a key, and refuses others.
func TestCosignReadsKeyless(t *testing.T) {
	programs := cosigns(t)
	if len(programs) == 0 {
		t.Skip("cosign is not compiled: scripts/cosign install")
	}
	_, refs := sources(t)
	sigstore := sigstoretest.New(t)
	dir := t.TempDir()
	trusted, predicate := sigstore.TrustedRootFile(dir), filepath.Join(dir, "p.json")
	if err := os.WriteFile(predicate, []byte(`{"n": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SIGSTORE_ID_TOKEN", sigstore.Token(nil))
	for i, format := range []string{"legacy", "bundle"} {
		// An image of its own: where cosign sees a bundle, it reads nothing else.
		services := []string{
			"--signature-format", format, "--fulcio-url", sigstore.URL, "--rekor-url", sigstore.URL,
			"--timestamp-server-url", sigstore.Timestamps(), "--trusted-root", trusted,
		}
		execute(t, append(append([]string{"sign"}, services...), refs[i])...)
		execute(t, append(append([]string{"attest", "--type", "https://example.com/x", "--predicate", predicate}, services...), refs[i])...)
		for _, bin := range programs {
			t.Run(format+"/"+filepath.Base(filepath.Dir(bin)), func(t *testing.T) {
				run := func(identity string, args ...string) ([]byte, error) {
					args = append(args, "--trusted-root", trusted, "--allow-http-registry", "--certificate-identity", identity,
						"--certificate-oidc-issuer", "https://issuer.example", fmt.Sprintf("--new-bundle-format=%t", format == "bundle"), refs[i])
					cmd := exec.CommandContext(t.Context(), bin, args...)
					cmd.Env = append(os.Environ(), "SIGSTORE_NO_CACHE=1", "HOME="+dir)
					return cmd.CombinedOutput()
				}
				calls := [][]string{{"verify"}, {"verify", "--use-signed-timestamps"}, {"verify-attestation", "--type", "https://example.com/x"}}
				if format == "legacy" && strings.Contains(bin, "cosign-v2") {
					calls = calls[:2] // it takes no trusted root for such attestations
				}
				for _, args := range calls {
					if out, err := run("https://ci.example/workflow", args...); err != nil {
						t.Errorf("%v: %v\n%s", args, err, out)
					}
					if out, err := run("https://ci.example/other", args...); err == nil {
						t.Errorf("%v takes it for another identity's\n%s", args, out)
					}
				}
			})
		}
	}
}
