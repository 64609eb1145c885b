package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/registry/registrytest"
)

// attempt runs the command in this process, and gives all that comes of it.
func attempt(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), append([]string{"manifest"}, args...), os.Environ(), strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), code
}

// pair makes a pair of keys, and gives the names of its files.
func pair(t *testing.T) (private, public string) {
	t.Helper()
	t.Setenv("COSIGN_PASSWORD", "secret")
	prefix := filepath.Join(t.TempDir(), "cosign")
	execute(t, "generate-key-pair", "--output-key-prefix", prefix)
	return prefix + ".key", prefix + ".pub"
}

// sources are a registry with images for two platforms.
func sources(t *testing.T) (s *registrytest.Server, refs []string) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	s = registrytest.New(t)
	for _, arch := range []string{"amd64", "arm64"} {
		img := mutate.ConfigMediaType(mutate.MediaType(registrytest.Image(t, "linux/"+arch), types.OCIManifestSchema1), types.OCIConfigJSON)
		s.Push(t, "app:"+arch, img)
		refs = append(refs, s.Ref("app:"+arch))
	}
	return s, refs
}

// digest is what a tag names; empty for none.
func digest(t *testing.T, s *registrytest.Server, ref string) string {
	t.Helper()
	r, err := name.ParseReference(s.Ref(ref), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Head(r, remote.WithTransport(s.Transport()))
	if err != nil {
		return ""
	}
	return d.Digest.String()
}

// TestTokensEnd: tokens end between children, between index and signatures, and before a tag; the work goes on.
func TestTokensEnd(t *testing.T) {
	_, refs := sources(t)
	private, public := pair(t)
	to := registrytest.New(t)
	to.Require(registrytest.Auth{User: "someone", Password: "secret", Bearer: true})
	login := []string{"--username", "someone", "--password", "secret"}
	for _, skip := range []int{1, 3, 5, 8} {
		to.Fail(registrytest.Fault{Method: http.MethodPut, Path: "/manifests/", Skip: skip, Times: 1, Then: to.Expire})
	}
	to.Fail(registrytest.Fault{Method: http.MethodPut, Path: "/blobs/", Skip: 2, Times: 1, Then: to.Expire})
	execute(t, append(append([]string{"create", "-t", to.Ref("app:1"), "--sign", "--key", private}, login...), refs...)...)
	to.Heal()
	execute(t, append([]string{"verify", "-r", "--key", public, to.Ref("app:1")}, login...)...)
	if n := to.Count("", "/token"); n < 5 {
		t.Errorf("%d tokens were asked for", n)
	}
}

// TestStorm: a registry that has too many requests, again and again, is waited for.
func TestStorm(t *testing.T) {
	s, refs := sources(t)
	private, public := pair(t)
	var refusals atomic.Int32
	for i := range 30 {
		// Not in step with what is done again after a refusal.
		s.Fail(registrytest.Fault{Skip: i*5 + i*i%3, Times: 1, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"0"}}, Then: func() { refusals.Add(1) }})
	}
	execute(t, append([]string{"create", "-t", s.Ref("app:1"), "--sign", "--key", private}, refs...)...)
	execute(t, "verify", "-r", "--key", public, s.Ref("app:1"))
	if n := refusals.Load(); n < 10 {
		t.Errorf("%d requests were refused", n)
	}
	// One that does not end is no answer to whether there are signatures.
	s.Heal()
	s.Fail(registrytest.Fault{Path: "/sha256-", Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"0"}}})
	s.Fail(registrytest.Fault{Path: "/referrers/", Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"0"}}})
	for _, args := range [][]string{{"verify", "--key", public}, {"sign", "--key", private}, {"create", "-t", s.Ref("app:2"), "--require-signed", public}} {
		if _, errs, code := attempt(t, append(args, s.Ref("app:1"))...); code == 0 || code >= 10 && code <= 13 {
			t.Errorf("%s: exit code %d\n%s", args[0], code, errs)
		}
	}
	if d := digest(t, s, "app:2"); d != "" {
		t.Errorf("the tag names %s", d)
	}
}

// TestLargeManifests: manifests of 9 MiB pass, and of 33 MiB are refused.
func TestLargeManifests(t *testing.T) {
	s, refs := sources(t)
	to := registrytest.New(t)
	for mib, ok := range map[int]bool{9: true, 33: false} {
		img := mutate.Annotations(mutate.ConfigMediaType(mutate.MediaType(registrytest.Image(t, "linux/s390x"), types.OCIManifestSchema1), types.OCIConfigJSON), map[string]string{"large": strings.Repeat("x", mib<<20)}).(v1.Image)
		s.Push(t, "app:s390x", img)
		out, errs, code := attempt(t, append([]string{"create", "-t", to.Ref("app:1")}, append(refs, s.Ref("app:s390x"))...)...)
		if (code == 0) != ok || ok != (out != "") {
			t.Errorf("%d MiB: exit code %d, %s\n%s", mib, code, out, errs)
		}
		if !ok && !strings.Contains(errs, "allowed") {
			t.Errorf("%d MiB: %s", mib, errs)
		}
	}
}

// TestMounts: blobs of other repositories are not sent where the registry takes them over; where it does not, they are.
func TestMounts(t *testing.T) {
	s, refs := sources(t)
	for name, c := range map[string]struct {
		fault registrytest.Fault
		sent  bool
	}{
		"taken over": {registrytest.Fault{Method: http.MethodPost, Path: "/none"}, false},
		"refused":    {registrytest.Fault{Method: http.MethodPost, Path: "/blobs/uploads/", Status: http.StatusForbidden, Times: 1}, true},
	} {
		t.Run(name, func(t *testing.T) {
			to := strings.ReplaceAll(name, " ", "-")
			s.Forget()
			s.Fail(c.fault)
			execute(t, append([]string{"create", "-t", s.Ref(to + ":1")}, refs...)...)
			s.Heal()
			if n := s.Count(http.MethodPut, to+"/blobs/"); (n > 0) != c.sent {
				t.Errorf("%d blobs were sent", n)
			}
			execute(t, "copy", s.Ref(to+":1"), registrytest.New(t).Ref("all:1"))
		})
	}
	// What accepts a mount by asking for the blob gets it.
	far := registrytest.New(t)
	execute(t, append([]string{"create", "-t", far.Ref("app:1")}, refs...)...)
	if far.Count(http.MethodPut, "/blobs/") == 0 {
		t.Error("nothing was sent to another registry")
	}
}

// TestReferrersUnknown: what refers to an image is copied, or the copy fails; it is never left out unseen.
func TestReferrersUnknown(t *testing.T) {
	s, refs := sources(t)
	private, _ := pair(t)
	execute(t, append([]string{"create", "-t", s.Ref("app:1"), "--sign", "--key", private}, refs...)...)
	to := registrytest.New(t)
	for _, path := range []string{"/referrers/", ".sig"} {
		for _, status := range []int{http.StatusInternalServerError, http.StatusForbidden} {
			s.Fail(registrytest.Fault{Path: path, Status: status})
			for _, args := range [][]string{{"copy", "--referrers", s.Ref("app:1"), to.Ref("app:1")}, {"create", "--referrers", "-t", to.Ref("app:1"), s.Ref("app:1")}} {
				if out, errs, code := attempt(t, args...); code == 0 || out != "" {
					t.Errorf("%s with %s answering %d: %s\n%s", args[0], path, status, out, errs)
				}
			}
			s.Heal()
		}
	}
	if d := digest(t, to, "app:1"); d != "" {
		t.Errorf("the tag names %s", d)
	}
}

// TestStdout: every command that makes or finds something prints its digest, and nothing else.
func TestStdout(t *testing.T) {
	s, refs := sources(t)
	private, public := pair(t)
	predicate := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(predicate, []byte(`{"n": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	at := s.Ref("app") + "@sha256:"
	for _, args := range [][]string{
		append([]string{"create", "-t", s.Ref("app:1"), "--sign", "--key", private}, refs...),
		append([]string{"create", "--dry-run", "-t", s.Ref("app:1")}, refs...),
		{"sign", "--key", private, s.Ref("app:1")},
		{"attest", "--key", private, "--predicate", predicate, s.Ref("app:1")},
		{"verify", "--key", public, "--output", "text", s.Ref("app:1")},
		{"verify-attestation", "--key", public, "--output", "text", s.Ref("app:1")},
		{"annotate", s.Ref("app:1"), "--annotation", "a=b"},
		{"remove", s.Ref("app:1"), "linux/arm64"},
		{"add", s.Ref("app:1"), s.Ref("app:arm64")},
		{"copy", s.Ref("app:1"), s.Ref("app:2")},
	} {
		out, errs, code := attempt(t, args...)
		if code != 0 || !strings.HasPrefix(out, at) || len(out) != len(at)+64+1 || !strings.HasSuffix(out, "\n") {
			t.Errorf("%s: exit code %d, stdout %q\n%s", args[0], code, out, errs)
		}
	}
}
