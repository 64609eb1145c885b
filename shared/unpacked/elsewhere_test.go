package unpacked_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/fakeroot"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/tree"
	"github.com/strake-build/strake/shared/unpacked"
)

const (
	envPlace = "UNPACKED_TEST_PLACE" // who the child is
	envStore = "UNPACKED_TEST_STORE"
)

// TestElsewhere keeps layers as root, and builds on them as somebody else: owners are
// those of the image for all.
func TestElsewhere(t *testing.T) {
	if os.Geteuid() != 0 || sandbox.NeedsUserNamespace() {
		t.Skip("wants root")
	}
	mapping := func(host int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: host, Size: 65536}}
	}
	within := func(host int) *syscall.SysProcAttr {
		return &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, UidMappings: mapping(host), GidMappings: mapping(host),
			GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{},
		}
	}
	for place, attr := range map[string]*syscall.SysProcAttr{
		"root of the same ids": within(0),
		"root of other ids":    within(100000),
		"a user":               {Credential: &syscall.Credential{Uid: 1000, Gid: 1000}},
		"keeps itself":         within(100000),
	} {
		t.Run(place, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "elsewhere") // open to all, which t.TempDir is not
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			b := &bed{dir: filepath.Join(dir, "cache")}
			b.fill(t, b.store(t))
			b.keep(t, true)
			self, err := os.ReadFile("/proc/self/exe")
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "self"), self, 0o755)
			}
			for _, err := range []error{err, os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "tmp"), 0o777), os.Chmod(filepath.Join(dir, "tmp"), 0o777)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(filepath.Join(dir, "self"), "-test.run=^TestInside$", "-test.v")
			cmd.Dir, cmd.SysProcAttr = filepath.Join(dir, "tmp"), attr
			cmd.Env = append(os.Environ(), envPlace+"="+place, envStore+"="+b.dir, "TMPDIR="+cmd.Dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v:\n%s", err, out)
			}
		})
	}
}

// TestInside is what TestElsewhere runs.
func TestInside(t *testing.T) {
	place := os.Getenv(envPlace)
	if place == "" {
		t.Skip("run by TestElsewhere")
	}
	if place == "keeps itself" {
		keepsItself(t)
		return
	}
	s, err := store.Open(os.Getenv(envStore), store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{dir: os.Getenv(envStore)}
	b.fill(t, s)
	k := &unpacked.Keeper{Store: s, Notice: func(l string) { t.Error(l) }}
	defer k.Close()
	plain, _ := b.tree(t, nil, false)
	kept, w := b.tree(t, k, false)
	if got, want := describe(t, kept), describe(t, plain); got != want {
		t.Errorf("shows\n%s\nwant\n%s", got, want)
	}
	l, err := k.Layer(t.Context(), tree.KeptQuery{Blob: b.blobs[0], Chain: b.blobs[0].DiffID, Overlay: true})
	if err != nil || l == nil || l.Dir != "" {
		t.Errorf("owners are others here, and the directory is offered: %+v, %v", l, err)
	}
	record := fakeroot.NewRecord()
	if os.Geteuid() != 0 {
		w.UseRecord(record)
	}
	owners(t, kept, w, record)
}

// owners checks a tree out, and looks who owns its files.
func owners(t *testing.T, kept tree.Tree, w *tree.Workspace, record *fakeroot.Record) {
	t.Helper()
	v, err := kept.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir, table := t.TempDir(), layer.NewTable()
	for _, p := range []string{"etc", "etc/passwd", "etc/shadow", "etc/link", "bin", "bin/sh"} {
		f, err := v.Exact(p)
		if err != nil {
			t.Fatal(err)
		}
		table.Make(p).Inode = f.Inode
	}
	if err := layer.Checkout(t.Context(), table.Seal(), dir, w.Applied()); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]uint32{"etc": 42, "etc/passwd": 7, "etc/shadow": 0, "etc/link": 9, "bin/sh": 0} {
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, filepath.Join(dir, p), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
			t.Fatal(err)
		}
		uid := st.Uid
		if int(uid) == os.Geteuid() {
			uid = 0 // the builder is shown as root
		}
		if a, ok := record.Get(fakeroot.IDOf(&st)); ok {
			uid = a.UID
		}
		if uid != want {
			t.Errorf("%s belongs to %d, want %d", p, uid, want)
		}
	}
}

// keepsItself makes a directory in the user namespace in which it is used.
func keepsItself(t *testing.T) {
	b := newBedOf(t, []entry{
		{name: "etc/", mode: 0o755, typ: tar.TypeDir},
		{name: "etc/passwd", mode: 0o600, typ: tar.TypeReg, uid: 7, body: "root"},
	})
	k := b.keep(t, true)
	l, err := k.Layer(t.Context(), tree.KeptQuery{Blob: b.blobs[0], Chain: b.blobs[0].DiffID, Overlay: true, UserXattr: k.UserXattr})
	if err != nil || l == nil || l.Dir == "" {
		t.Fatalf("it is not offered: %+v, %v", l, err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(l.Dir, "etc/passwd"), &st); err != nil || st.Uid != 7 {
		t.Errorf("it belongs to %d, %v", st.Uid, err)
	}
}

func newBedOf(t *testing.T, entries ...[]entry) *bed {
	t.Helper()
	b := &bed{dir: filepath.Join(t.TempDir(), "cache")}
	b.fill(t, b.store(t), entries...)
	return b
}

// fill puts layers into the store, where they are not there.
func (b *bed) fill(t testing.TB, s *store.Store, entries ...[]entry) {
	t.Helper()
	if len(entries) == 0 {
		entries = layers()
	}
	for _, l := range entries {
		raw, diffID := pack(t, l)
		h, n, err := v1.SHA256(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		d := v1.Descriptor{Digest: h, Size: n}
		if !s.Has(d) {
			if _, err := s.PutBytes(t.Context(), raw); err != nil {
				t.Fatal(err)
			}
		}
		b.blobs = append(b.blobs, layer.Blob{Digest: d.Digest, Size: d.Size, DiffID: diffID, Open: func() (io.ReadCloser, error) {
			b.reads++
			return s.Open(d)
		}})
	}
}
