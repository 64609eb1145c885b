package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/attest"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// TestAttestsWhatTheExecutorWrites signs a statement of the executor's, and verifies it.
func TestAttestsWhatTheExecutorWrites(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("COSIGN_PASSWORD", "x")
	dir := t.TempDir()
	t.Chdir(dir)
	s := registrytest.New(t)
	img := registrytest.Image(t, "linux/amd64")
	s.Push(t, "app:1", img)
	s.Push(t, "app:other", registrytest.Image(t, "linux/arm64"))
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	predicate, err := attest.Options{Mode: attest.Min, BuilderID: "https://ci.example/b"}.Provenance(attest.Facts{Platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(attest.State(digest, nil, []attest.Predicate{predicate})[0])
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "provenance.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	execute(t, "generate-key-pair")
	execute(t, "attest", "--key", "cosign.key", "--predicate", file, s.Ref("app:1"))
	execute(t, "verify-attestation", "--key", "cosign.pub", "--type", "slsaprovenance1",
		"--condition", "$.predicate.runDetails.builder.id == https://ci.example/b", s.Ref("app:1"))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--predicate", file, s.Ref("app:other")}, "it is a statement about another image than sha256:"},
		{[]string{"--predicate", file, "--type", "spdxjson", s.Ref("app:1")}, "it is a statement of type"},
	} {
		var stderr bytes.Buffer
		args := append([]string{"manifest", "attest", "--key", "cosign.key"}, c.args...)
		if code := Main(t.Context(), args, os.Environ(), strings.NewReader(""), &bytes.Buffer{}, &stderr); code != 64 || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%q: code %d, %s", c.args, code, stderr.String())
		}
	}
}
