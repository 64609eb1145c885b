// Package merge runs the manifest command against real registries and beside the tools whose work it does.
package merge

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/integration/testkit"
)

// program is a peer; a test that needs one that is not there is skipped, and says how to get it.
func program(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: apt-get install %s", name, name)
	}
	return p
}

// bed is a directory with the manifest command and a registry: Debian's unless
// said otherwise, of distribution v2, which has no referrers API.
type bed struct {
	*testing.T
	dir, manifest, registry string
}

func newBed(t *testing.T) *bed {
	t.Helper()
	return newBedOn(t, program(t, "docker-registry"))
}

func newBedOn(t *testing.T, registry string) *bed {
	t.Helper()
	b := &bed{T: t, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(b.dir, "config.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.manifest = filepath.Join(b.dir, "manifest")
	b.run("go", "build", "-o", b.manifest, "github.com/strake-build/strake/manifest")
	b.registry = b.serve(registry)
	return b
}

func (b *bed) serve(bin string) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	config := filepath.Join(b.dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/registry}}\nhttp: {addr: %q}\n", b.dir, addr)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(bin, "serve", config)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 100 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.Fatal("the registry does not answer")
	return ""
}

// command runs a program in the bed's directory, and gives its stdout and exit code.
func (b *bed) command(bin string, args ...string) (stdout, stderr string, code int) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), bin, args...)
	if bin != "go" {
		cmd.Dir = b.dir
	}
	cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=secret", "DOCKER_CONFIG="+b.dir, "SIGSTORE_NO_CACHE=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		b.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (b *bed) run(bin string, args ...string) string {
	b.Helper()
	out, errs, code := b.command(bin, args...)
	if code != 0 {
		b.Fatalf("%s %s: exit code %d\n%s%s", filepath.Base(bin), strings.Join(args, " "), code, out, errs)
	}
	return out
}

// image pushes an image of random content and gives its digest.
func (b *bed) image(tag, platform string) v1.Hash {
	b.Helper()
	p, err := v1.ParsePlatform(platform)
	if err != nil {
		b.Fatal(err)
	}
	img, err := random.Image(2048, 2)
	if err != nil {
		b.Fatal(err)
	}
	conf, err := img.ConfigFile()
	if err != nil {
		b.Fatal(err)
	}
	conf = conf.DeepCopy()
	conf.OS, conf.Architecture, conf.Variant = p.OS, p.Architecture, p.Variant
	if img, err = mutate.ConfigFile(img, conf); err != nil {
		b.Fatal(err)
	}
	img = mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
	ref, err := name.ParseReference(b.registry + "/" + tag)
	if err != nil {
		b.Fatal(err)
	}
	if err := remote.Push(ref, img); err != nil {
		b.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		b.Fatal(err)
	}
	return d
}

// index makes the signed index that the tests are about.
func (b *bed) index(args ...string) string {
	b.Helper()
	b.image("app:amd64", "linux/amd64")
	b.image("app:arm64", "linux/arm64")
	b.run(b.manifest, "generate-key-pair")
	all := append([]string{"create", "-t", b.registry + "/app:1", b.registry + "/app:amd64", b.registry + "/app:arm64"}, args...)
	return strings.TrimSpace(b.run(b.manifest, all...))
}

// TestDistributions makes, signs, attests and verifies on both versions of distribution, with several who sign at once.
func TestDistributions(t *testing.T) {
	v3, err := testkit.Script(t.Context(), "distribution", "install")
	if err != nil {
		t.Fatal(err)
	}
	for version, bin := range map[string]string{"v2": program(t, "docker-registry"), "v3": v3} {
		t.Run(version, func(t *testing.T) {
			b := newBedOn(t, bin)
			const signers = 3
			var keys []string
			for i := range signers {
				keys = append(keys, fmt.Sprint("key", i))
				b.run(b.manifest, "generate-key-pair", "--output-key-prefix", keys[i])
			}
			ref := b.index("--sign", "--key", keys[0]+".key", "--expect-platforms", "linux/amd64,linux/arm64")
			if err := os.WriteFile(filepath.Join(b.dir, "p.json"), []byte(`{"n": 1}`), 0o600); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			failures := make([]string, signers)
			for i, k := range keys {
				wg.Go(func() {
					for _, args := range [][]string{{"sign"}, {"attest", "-r", "--type", "https://example.com/x", "--predicate", "p.json"}} {
						if _, errs, code := b.command(b.manifest, append(append(args, "--key", k+".key"), ref)...); code != 0 {
							failures[i] += errs
						}
					}
				})
			}
			wg.Wait()
			if all := strings.Join(failures, ""); all != "" {
				t.Fatal(all)
			}
			for _, k := range keys {
				for _, format := range []string{"legacy", "bundle"} {
					for _, args := range [][]string{{"verify"}, {"verify-attestation", "--type", "https://example.com/x", "--condition", "$.predicate.n == 1"}} {
						b.run(b.manifest, append(args, "-r", "--key", k+".pub", "--signature-format", format, "-o", "text", b.registry+"/app:1")...)
					}
				}
			}
			// The same again writes nothing.
			if _, errs, code := b.command(b.manifest, "sign", "--key", keys[0]+".key", ref); code != 0 || strings.Count(errs, "signed already") != 6 {
				t.Errorf("signed again: exit code %d\n%s", code, errs)
			}
		})
	}
}

// TestPodmanMakes: an index that podman makes of the same images names them as ours does.
func TestPodmanMakes(t *testing.T) {
	podman := program(t, "podman")
	b := newBed(t)
	ours := b.run(b.manifest, "inspect", "--raw", b.index())
	storage := []string{"--root", b.dir + "/podman", "--runroot", b.dir + "/podman-run", "--storage-driver", "vfs"}
	b.run(podman, append(storage, "manifest", "create", "localhost/app:1")...)
	for _, arch := range []string{"amd64", "arm64"} {
		b.run(podman, append(storage, "manifest", "add", "--tls-verify=false", "localhost/app:1", "docker://"+b.registry+"/app:"+arch)...)
	}
	b.run(podman, append(storage, "manifest", "push", "--tls-verify=false", "--format", "oci", "localhost/app:1", "docker://"+b.registry+"/app:podman")...)
	theirs := b.run(b.manifest, "inspect", "--raw", b.registry+"/app:podman")
	if a, c := entries(t, ours), entries(t, theirs); !reflect.DeepEqual(a, c) {
		t.Errorf("ours has\n%+v\nand podman's\n%+v", a, c)
	}
}

// entries are what an index says of its images, in the order of their digests.
func entries(t *testing.T, raw string) []v1.Descriptor {
	t.Helper()
	m, err := v1.ParseIndexManifest(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if m.MediaType != types.OCIImageIndex {
		t.Errorf("it is a %s", m.MediaType)
	}
	slices.SortFunc(m.Manifests, func(a, b v1.Descriptor) int { return strings.Compare(a.Digest.Hex, b.Digest.Hex) })
	return m.Manifests
}

// TestOtherReaders: skopeo and podman take from the index what is for a platform.
func TestOtherReaders(t *testing.T) {
	b := newBed(t)
	ref := b.index()
	skopeo := program(t, "skopeo")
	raw := b.run(skopeo, "inspect", "--raw", "--tls-verify=false", "docker://"+b.registry+"/app:1")
	if ours := b.run(b.manifest, "inspect", "--raw", ref); ours != raw {
		t.Errorf("skopeo reads\n%s\nwe read\n%s", raw, ours)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		out := b.run(skopeo, "inspect", "--override-arch", arch, "--override-os", "linux", "--tls-verify=false", "docker://"+b.registry+"/app:1")
		if !strings.Contains(out, `"Architecture": "`+arch+`"`) {
			t.Errorf("%s: skopeo found\n%s", arch, out)
		}
	}
	podman := program(t, "podman")
	storage := []string{"--root", b.dir + "/podman", "--runroot", b.dir + "/podman-run", "--storage-driver", "vfs"}
	b.run(podman, append(storage, "pull", "--tls-verify=false", "--platform", "linux/arm64", b.registry+"/app:1")...)
	out := b.run(podman, append(storage, "inspect", "--format", "{{.Architecture}}", b.registry+"/app:1")...)
	if strings.TrimSpace(out) != "arm64" {
		t.Errorf("podman pulled %s", out)
	}
}

// TestOffline does the whole in a network namespace that has nothing but the registry.
func TestOffline(t *testing.T) {
	unshare := program(t, "unshare")
	registry := program(t, "docker-registry")
	if os.Getuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	b := newBed(t)
	b.index()
	// The registry's content is on disk; another one serves it, where nobody else can be reached.
	script := fmt.Sprintf(`set -e
ip link set lo up 2>/dev/null || ifconfig lo up
%s serve registry.yml & trap "kill $!" EXIT
for i in $(seq 50); do ./manifest inspect %[2]s/app:1 >/dev/null 2>&1 && break; sleep 0.1; done
./manifest sign --key cosign.key %[2]s/app:1
./manifest verify -r --key cosign.pub --signature-format legacy %[2]s/app:1
./manifest verify -r --key cosign.pub --signature-format bundle %[2]s/app:1
`, registry, b.registry)
	b.run(unshare, "-n", "sh", "-c", script)
}
