package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// TestGivenBundles verifies with bundles from files, where the registry has none beside the image.
func TestGivenBundles(t *testing.T) {
	s, refs := sources(t)
	private, public := pair(t)
	dir := t.TempDir()
	predicate := filepath.Join(dir, "p.json")
	if err := os.WriteFile(predicate, []byte(`{"n": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	execute(t, "sign", "--key", private, "--signature-format", "bundle", refs[0])
	execute(t, "attest", "--key", private, "--signature-format", "bundle", "--type", "https://example.com/x", "--predicate", predicate, refs[0])
	files := bundles(t, refs[0], dir)
	if len(files) != 2 {
		t.Fatalf("%v", files)
	}
	both := filepath.Join(dir, "both.jsonl")
	var text []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text = append(append(text, b...), '\n')
	}
	if err := os.WriteFile(both, text, 0o600); err != nil {
		t.Fatal(err)
	}

	inner := registrytest.New(t)
	inner.Push(t, "app:amd64", s.Image(t, "app:amd64"))
	inner.Push(t, "app:other", registrytest.Image(t, "linux/amd64"))
	ref := inner.Ref("app:amd64")
	if _, errs, code := attempt(t, "verify", "--key", public, ref); code != 10 {
		t.Fatalf("without: exit code %d\n%s", code, errs)
	}
	execute(t, "verify", "--key", public, "--bundle", both, ref)
	execute(t, "verify", "--key", public, "--bundle", files[0], "--bundle", files[1], ref)
	if out := execute(t, "verify-attestation", "--key", public, "--type", "https://example.com/x", "--condition", "$.predicate.n == 1", "--bundle", both, ref); !strings.Contains(out, `"n":1`) {
		t.Errorf("it prints %s", out)
	}
	_, other := pair(t)
	for name, c := range map[string]struct {
		says string
		code int
		args []string
	}{
		"another image": {"the statement is about ", 12, []string{"verify", "--key", public, "--bundle", both, inner.Ref("app:other")}},
		"another key":   {"both.jsonl, bundle", 12, []string{"verify", "--key", other, "--bundle", both, ref}},
		"another type":  {"https://example.com/x", 10, []string{"verify-attestation", "--key", public, "--type", "https://example.com/y", "--bundle", both, ref}},
		"no bundle":     {"bundle 1", 64, []string{"verify", "--key", public, "--bundle", predicate, ref}},
		"nothing":       {"it is empty", 64, []string{"verify", "--key", public, "--bundle", os.DevNull, ref}},
		// The registry has one, which is not what is asked for.
		"in the registry": {"no signature", 10, []string{"verify", "--key", public, "--bundle", files[whichAttests(t, files)], refs[0]}},
	} {
		if _, errs, code := attempt(t, c.args...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%s: exit code %d\n%s", name, code, errs)
		}
	}
}

// whichAttests is which of the files is no signature.
func whichAttests(t *testing.T, files []string) int {
	t.Helper()
	for i, f := range files {
		if strings.Contains(f, "example.com") {
			return i
		}
	}
	t.Fatalf("none of %v", files)
	return 0
}

// bundles writes what the registry has beside an image into files, named by their types.
func bundles(t *testing.T, ref, dir string) (files []string) {
	t.Helper()
	c, err := registry.New(registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	doc, err := c.Document(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	list, err := doc.Referrers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		child, err := doc.Child(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		b, err := child.Small(t.Context(), child.Image.Layers[0], 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.NewReplacer("/", "_", ":", "_").Replace(d.Annotations["dev.sigstore.bundle.predicateType"])
		file := filepath.Join(dir, name+".json")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}
