package run_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/disposable"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/tree"
)

// TestMountBelowSymlink has a driver's library mounted into /lib, which the image has as a symlink: a step finds what is
// in /usr/lib by either name, what it writes is in the image by its real name, and the next step finds that there.
func TestMountBelowSymlink(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	put := func(root, name, content string) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, name), []byte(content), 0o644))
	}
	root, image, driver := filepath.Join(dir, "root"), filepath.Join(dir, "image"), filepath.Join(dir, "driver")
	put(root, "kaniko/.disposable-root", "")
	put(driver, "driver.so", "of the machine")
	at := filepath.Join(root, "lib/arch/driver")
	must(t, os.MkdirAll(at, 0o755))
	must(t, unix.Mount(driver, at, "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, unix.Unmount(at, unix.MNT_DETACH)) })
	put(image, "usr/lib/release", "12")
	put(image, "usr/lib/arch/libc.so", "libc")
	must(t, os.Symlink("usr/lib", filepath.Join(image, "lib")))

	r, err := disposable.Open(t.Context(), disposable.Options{Dir: root, Home: filepath.Join(root, "kaniko")}, nil)
	must(t, err)
	defer r.Close()
	g, err := r.Guard()
	must(t, err)
	defer g.Close()
	w, err := tree.NewWorkspace(filepath.Join(dir, "builder"), layer.PackOptions{})
	must(t, err)
	defer w.Close()
	roots := run.NewInPlaceRoots(w, r, g, nil)
	step := func(base tree.Tree, do func()) (tree.Tree, error) {
		t.Helper()
		view, err := base.View(t.Context())
		must(t, err)
		in, err := roots.Open(t.Context(), base, view)
		must(t, err)
		do()
		after, err := in.Commit(t.Context())
		if err != nil {
			must(t, in.Discard())
		}
		return after, err
	}
	holds := func(name, want string) {
		t.Helper()
		if b, err := os.ReadFile(filepath.Join(root, name)); string(b) != want {
			t.Errorf("%s holds %q, %v; want %q", name, b, err, want)
		}
	}
	link := func(name, want string) {
		t.Helper()
		if to, err := os.Readlink(filepath.Join(root, name)); to != want {
			t.Errorf("%s leads to %q, %v", name, to, err)
		}
	}

	base := tree.Of(w.FromTable(tableOf(t, image)))
	one, err := step(base, func() {
		link("lib/release", "/usr/lib/release")
		link("lib/arch/libc.so", "/usr/lib/arch/libc.so")
		holds("lib/arch/driver/driver.so", "of the machine")
		put(root, "lib/made", "1")
		put(root, "lib/arch/made", "2")
		put(root, "lib/new/made", "3")
	})
	must(t, err)
	two, err := step(one, func() {
		for name, want := range map[string]string{"usr/lib/made": "1", "usr/lib/arch/made": "2", "usr/lib/new/made": "3"} {
			holds(name, want)
		}
		link("lib/made", "/usr/lib/made")
		put(root, "usr/lib/made", "changed")
	})
	must(t, err)
	view, err := two.View(t.Context())
	must(t, err)
	var names []string
	must(t, view.Walk(view.Root(), func(f *tree.File) error {
		if !f.IsDir() {
			names = append(names, f.Path)
		}
		return nil
	}))
	want := "lib usr/lib/arch/libc.so usr/lib/arch/made usr/lib/made usr/lib/new/made usr/lib/release"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("the image has %s; want %s", got, want)
	}
	if b, err := view.ReadFile("usr/lib/made", 100); string(b) != "changed" {
		t.Errorf("the file is %q, %v", b, err)
	}
	if layers := two.Layers(); len(layers) != 3 {
		t.Errorf("%d layers", len(layers))
	} else if table, err := layers[2].Table(t.Context()); err != nil || table.Lookup("usr/lib/release") != nil || table.Lookup("lib") != nil {
		t.Errorf("the second step is said to have changed more than it has, %v", err)
	}

	// What a step does to a link cannot be done to what the link stands for.
	_, err = step(two, func() { must(t, os.Remove(filepath.Join(root, "lib/release"))) })
	if no, ok := errors.AsType[*run.Unsupported](err); !ok || !strings.Contains(no.Error(), "/usr/lib/release") {
		t.Errorf("got %v", err)
	}
	holds("lib/arch/driver/driver.so", "of the machine")
}
