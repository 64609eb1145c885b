package export

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
)

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "for us")
	img := newImage(t, "amd64", blob(t, "x"))
	digest := digestOf(t, img).String()
	config, _ := img.ConfigName()
	p := func(s string) string { return filepath.Join(dir, s) }
	f := &Files{
		Digest: p("digest"), NameDigest: p("name"), NameTagDigest: p("tag"), Images: p("images"), Metadata: p("meta"),
		Extra:        map[string]any{"strake.steps": []int{1, 2}, "image.name": "not this"},
		Destinations: []Destination{destination(t, "alpine:3"), destination(t, "reg.example:5000/a/b")},
	}
	if err := f.Write(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"digest": digest,
		"name":   "index.docker.io/library/alpine@" + digest + "\nreg.example:5000/a/b@" + digest + "\n",
		"tag":    "index.docker.io/library/alpine:3@" + digest + "\nreg.example:5000/a/b:latest@" + digest + "\n",
		"images": `{"name":"alpine:3","digest":"` + digest + `"}` + "\n" + `{"name":"reg.example:5000/a/b","digest":"` + digest + `"}` + "\n",
	} {
		if got, err := os.ReadFile(p(file)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, want %q, %v", file, got, want, err)
		}
	}
	raw, _ := os.ReadFile(p("meta"))
	var meta map[string]any
	if err := json.Unmarshal(raw, &meta); err != nil {
		t.Fatal(err)
	}
	d := meta["containerimage.descriptor"].(map[string]any)
	if meta["containerimage.digest"] != digest || d["digest"] != digest || d["platform"].(map[string]any)["architecture"] != "amd64" ||
		meta["containerimage.config.digest"] != config.String() || meta["strake.steps"] == nil ||
		meta["image.name"] != "docker.io/library/alpine:3,reg.example:5000/a/b:latest" {
		t.Errorf("metadata: %s", raw)
	}
	st, _ := os.Stat(dir)
	if st.Mode().Perm() != 0o700 {
		t.Errorf("directory has mode %o", st.Mode().Perm())
	}
	if left, _ := os.ReadDir(dir); len(left) != 5 {
		t.Errorf("left: %v", left)
	}
}

func TestFilesByPut(t *testing.T) {
	img := newImage(t, "amd64", blob(t, "x"))
	var got, kind string
	status := http.StatusOK
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, kind = r.Method+" "+string(b), r.Header.Get("Content-Type")
		w.WriteHeader(status)
	}))
	defer srv.Close()
	f := &Files{Digest: srv.URL + "/x?signature=secret", Client: srv.Client()}
	if err := f.Write(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	if got != "PUT "+digestOf(t, img).String() || kind != "text/plain" {
		t.Errorf("got %s as %s", got, kind)
	}
	status = http.StatusForbidden
	err := f.Write(t.Context(), img)
	if err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	srv.Close()
	if err = f.Write(t.Context(), img); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}

func TestEveryFileIsTried(t *testing.T) {
	dir := t.TempDir()
	f := &Files{Digest: dir, NameDigest: filepath.Join(dir, "name"), Destinations: []Destination{destination(t, "a")}}
	if err := f.Write(t.Context(), newImage(t, "amd64")); err == nil {
		t.Error("a directory was taken for a file")
	}
	if _, err := os.Stat(f.NameDigest); err != nil {
		t.Error(err)
	}
}

func say(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

func TestReplaceKeepsLinksAndPipes(t *testing.T) {
	dir := t.TempDir()
	file, link, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	if err := replace(link, 0o644, say("new")); err != nil {
		t.Fatal(err)
	}
	st, _ := os.Lstat(link)
	if b, _ := os.ReadFile(file); string(b) != "new" || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("file has %q, link is %v", b, st.Mode())
	}

	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		b, _ := os.ReadFile(pipe)
		got <- string(b)
	}()
	if err := replace(pipe, 0o644, say("through")); err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "through" {
		t.Errorf("pipe gave %q", s)
	}
}

// TestReplaceMountPoint runs itself in a mount namespace of its own.
func TestReplaceMountPoint(t *testing.T) {
	if file := os.Getenv("TEST_MOUNT_POINT"); file != "" {
		if err := syscall.Mount(file, file, "", syscall.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		if err := replace(file, 0o644, say("new")); err != nil {
			t.Fatal(err)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("an older text"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", os.Args[0], "-test.run=^TestReplaceMountPoint$")
	cmd.Env = append(os.Environ(), "TEST_MOUNT_POINT="+file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	left, _ := os.ReadDir(filepath.Dir(file))
	if b, _ := os.ReadFile(file); string(b) != "new" || len(left) != 1 {
		t.Errorf("file has %q beside %v", b, left)
	}
}

func TestLayoutIsFreshAndRepaired(t *testing.T) {
	dir := t.TempDir()
	b := blob(t, "x")
	old, img := newImage(t, "arm64", blob(t, "old")), newImage(t, "amd64", b)
	l := &Layout{Path: dir, Names: []Destination{destination(t, "a:v1"), destination(t, "b:v2")}}
	if err := l.Export(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "blobs", "sha256", b.Digest.Hex)
	if err := os.WriteFile(file, make([]byte, b.Size), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := l.Export(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadFile(file); slices.Max(left) == 0 {
		t.Error("a blob of other content was kept")
	}
	if _, err := os.Stat(filepath.Join(dir, "blobs", "sha256", digestOf(t, old).Hex)); err != nil {
		t.Error("blobs of the older image are gone")
	}
	idx, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := idx.IndexManifest()
	if len(m.Manifests) != 2 || m.Manifests[0].Digest != digestOf(t, img) || m.Manifests[1].Annotations[annotationRefName] != "v2" {
		t.Errorf("index: %+v", m.Manifests)
	}
	l.Names = nil
	if err := l.Export(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	idx, _ = layout.ImageIndexFromPath(dir)
	if m, _ = idx.IndexManifest(); len(m.Manifests) != 1 || m.Manifests[0].Annotations != nil {
		t.Errorf("without a name: %+v", m.Manifests)
	}
}
