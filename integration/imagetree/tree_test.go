package imagetree

import (
	"archive/tar"
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// layer writes entries given as "d name", "f name", "l name target", "h name target".
func layer(t *testing.T, entries ...string) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		f := append(strings.Fields(e), "", "")
		h := &tar.Header{Name: f[1], Linkname: f[2], Mode: 0o644}
		h.Typeflag = map[string]byte{"d": tar.TypeDir, "f": tar.TypeReg, "l": tar.TypeSymlink, "h": tar.TypeLink}[f[0]]
		if f[0] == "f" {
			h.Size = int64(len(f[1]))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if f[0] == "f" {
			if _, err := io.WriteString(w, f[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func names(t *testing.T, layers ...v1.Layer) []string {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Flatten(img)
	if err != nil {
		t.Fatal(err)
	}
	return tree.Names()
}

func TestFlatten(t *testing.T) {
	base := layer(t, "d a", "f a/x", "f a/y", "d b", "f b/deep", "f c")
	for _, c := range []struct {
		name string
		over []string
		want string
	}{
		{"nothing", nil, "a a/x a/y b b/deep c"},
		{"deleted file", []string{"f a/.wh.x"}, "a a/y b b/deep c"},
		{"deleted folder", []string{"f .wh.a"}, "b b/deep c"},
		{"opaque folder", []string{"d a", "f a/.wh..wh..opq", "f a/new"}, "a a/new b b/deep c"},
		{"opaque marker last", []string{"d a", "f a/new", "f a/.wh..wh..opq"}, "a a/new b b/deep c"},
		{"file over folder", []string{"f b"}, "a a/x a/y b c"},
		{"folder over file", []string{"d c", "f c/in"}, "a a/x a/y b b/deep c c/in"},
		{"folder over folder", []string{"d a"}, "a a/x a/y b b/deep c"},
		{"parents that nobody wrote", []string{"f n/m/f"}, "a a/x a/y b b/deep c n n/m n/m/f"},
		{"hard link", []string{"h c2 c"}, "a a/x a/y b b/deep c c2"},
	} {
		if got := strings.Join(names(t, base, layer(t, c.over...)), " "); got != c.want {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
	}
}

func TestFlattenRefuses(t *testing.T) {
	for _, entry := range []string{"f ../up", "h x nowhere"} {
		img, err := mutate.AppendLayers(empty.Image, layer(t, entry))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Flatten(img); err == nil {
			t.Errorf("entry %q was taken", entry)
		}
	}
}

func TestDiff(t *testing.T) {
	got := Diff([]string{"same", "twice", "twice", "old"}, []string{"same", "twice", "new"})
	slices.Sort(got)
	if want := []string{"+ new", "- old", "- twice"}; !slices.Equal(got, want) {
		t.Errorf("diff is %q, not %q", got, want)
	}
}
