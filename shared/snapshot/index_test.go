package snapshot_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/snapshot"
	"golang.org/x/sys/unix"
)

// A write right after the look, of the same size, must not share its time.
func TestRacyWrites(t *testing.T) {
	root := t.TempDir()
	name := filepath.Join(root, "f")
	if err := os.WriteFile(name, []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	index, err := snapshot.Take(t.Context(), root, snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 50 {
		if _, err := f.WriteAt([]byte{byte('a' + i%2)}, 0); err != nil {
			t.Fatal(err)
		}
		var table *layer.Table
		if table, index, err = index.Changes(t.Context(), root, nil); err != nil {
			t.Fatal(err)
		}
		if table.Lookup("f") == nil {
			t.Fatalf("write %d was missed", i)
		}
	}
}

func TestWritesThroughMappingsOfTmpfs(t *testing.T) {
	root, err := os.MkdirTemp("/dev/shm", "snapshot")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(root)
	f, err := os.Create(filepath.Join(root, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(8192); err != nil {
		t.Fatal(err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	m[5] = 1
	index, err := snapshot.Take(t.Context(), root, snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m[5] = 2
	table, _, err := index.Changes(t.Context(), root, nil)
	if err != nil {
		t.Fatal(err)
	}
	if table.Lookup("f") == nil {
		t.Error("missed")
	}
}

func TestAdjust(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "null"), []byte("fake"), 0o644); err != nil {
		t.Fatal(err)
	}
	adjust := func(f snapshot.File, in *layer.Inode) {
		if f.Path == "null" && f.Ino != 0 && !f.Birth.IsZero() {
			in.Kind, in.DevMajor, in.DevMinor, in.UID, in.GID = layer.Char, 1, 3, 8, 9
		}
	}
	table, err := snapshot.Upper(t.Context(), root, snapshot.UpperOptions{Adjust: adjust})
	if err != nil {
		t.Fatal(err)
	}
	in := table.Lookup("null").Inode
	if in.Kind != layer.Char || in.UID != 8 || in.Size != 0 || in.Content != nil {
		t.Errorf("%+v", in)
	}
	index, err := snapshot.Take(t.Context(), root, snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	index.Adjust = adjust
	if err := os.Chmod(filepath.Join(root, "null"), 0o600); err != nil {
		t.Fatal(err)
	}
	table, _, err = index.Changes(t.Context(), root, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := table.Lookup("null"); n == nil || n.Inode.Kind != layer.Char {
		t.Errorf("%+v", n)
	}
}

func TestRefusesRedirects(t *testing.T) {
	root := t.TempDir()
	if err := unix.Setxattr(root, "user.overlay.redirect", []byte("/x"), 0); err != nil {
		t.Skip(err)
	}
	_, err := snapshot.Upper(t.Context(), root, snapshot.UpperOptions{UserXattr: true})
	if err == nil {
		t.Error("a redirect was taken for a plain directory")
	}
}

func TestNamesLongerThanThePath(t *testing.T) {
	root := t.TempDir()
	// Deeper than PATH_MAX: made step by step, as a hostile step would.
	fd, err := unix.Open(root, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := string(make([]byte, 0, 200))
	for range 200 {
		name += "d"
	}
	const depth = 30
	for range depth {
		if err := unix.Mkdirat(fd, name, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		fd = next
	}
	f, err := unix.Openat(fd, "f", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	unix.Write(f, []byte("deep"))
	unix.Close(f)
	unix.Close(fd)
	table, err := snapshot.Upper(t.Context(), root, snapshot.UpperOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n, levels := table.Root, 0
	for n.Child(name) != nil {
		n, levels = n.Child(name), levels+1
	}
	if levels != depth || n.Child("f") == nil {
		t.Fatalf("%d levels, then %v", levels, n.Child("f"))
	}
	r, err := n.Child("f").Inode.Content.Open()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := snapshot.Take(t.Context(), root, snapshot.Options{}); err != nil {
		t.Fatal(err)
	}
}
