package cosign_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/strake-build/strake/manifest/internal/cosign"
	"github.com/strake-build/strake/manifest/internal/sigstoretest"
)

// repository serves a TUF repository with these files, and gives its root.json.
func repository(t *testing.T, until time.Time, targets map[string][]byte) (r cosign.Repository, served map[string][]byte) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	public, private, err := ed25519.GenerateKey(nil)
	must(err)
	signer, err := signature.LoadSigner(private, crypto.Hash(0))
	must(err)
	key, err := metadata.KeyFromPublicKey(public)
	must(err)
	root, about, snapshot, now := metadata.Root(until), metadata.Targets(until), metadata.Snapshot(until), metadata.Timestamp(until)
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		must(root.Signed.AddKey(key, role))
	}
	served = map[string][]byte{}
	for name, b := range targets {
		info, err := metadata.TargetFile().FromBytes(name, b, "sha256")
		must(err)
		about.Signed.Targets[name] = info
		served["/targets/"+info.Hashes["sha256"].String()+"."+name] = b
	}
	for _, sign := range []func() error{
		func() error { _, err := root.Sign(signer); return err }, func() error { _, err := about.Sign(signer); return err },
		func() error { _, err := snapshot.Sign(signer); return err }, func() error { _, err := now.Sign(signer); return err },
	} {
		must(sign())
	}
	for path, write := range map[string]func(bool) ([]byte, error){"/1.root.json": root.ToBytes, "/1.targets.json": about.ToBytes, "/1.snapshot.json": snapshot.ToBytes, "/timestamp.json": now.ToBytes} {
		served[path], err = write(false)
		must(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if b, ok := served[req.URL.Path]; ok {
			_, _ = w.Write(b)
			return
		}
		http.NotFound(w, req)
	}))
	t.Cleanup(srv.Close)
	return cosign.Repository{Mirror: srv.URL, Root: served["/1.root.json"]}, served
}

// TestRepository fetches a trusted root, and takes none that is not vouched for.
func TestRepository(t *testing.T) {
	tomorrow := time.Now().Add(24 * time.Hour).UTC()
	want, err := os.ReadFile(sigstoretest.New(t).TrustedRootFile(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	r, served := repository(t, tomorrow, map[string][]byte{cosign.TrustedRootTarget: want, "other": []byte("{}")})
	got, err := r.Target(t.Context(), cosign.TrustedRootTarget)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s, %v", got, err)
	}
	file := filepath.Join(t.TempDir(), "root.json")
	if err := os.WriteFile(file, got, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cosign.TrustedRoot(file); err != nil {
		t.Error(err)
	}
	refused := func(r cosign.Repository, target, says string) {
		t.Helper()
		if _, err := r.Target(t.Context(), target); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), r.Mirror) {
			t.Errorf("%v, want one that says %q", err, says)
		}
	}
	refused(r, cosign.SigningConfigTarget, "not found")
	_, other := repository(t, tomorrow, nil)
	refused(cosign.Repository{Mirror: r.Mirror, Root: other["/1.root.json"]}, cosign.TrustedRootTarget, "")
	refused(cosign.Repository{Mirror: r.Mirror}, cosign.TrustedRootTarget, "") // the public one's
	old, _ := repository(t, time.Now().Add(-time.Hour).UTC(), map[string][]byte{cosign.TrustedRootTarget: want})
	refused(old, cosign.TrustedRootTarget, "expired")
	for path := range served {
		if strings.HasSuffix(path, cosign.TrustedRootTarget) {
			served[path] = append(bytes.Clone(served[path]), '\n')
		}
	}
	refused(r, cosign.TrustedRootTarget, "")
	none, _ := repository(t, tomorrow, map[string][]byte{cosign.TrustedRootTarget: []byte("[]")})
	refused(none, cosign.TrustedRootTarget, "trusted_root.json of")
}
