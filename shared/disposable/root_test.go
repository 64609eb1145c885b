package disposable_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/disposable"
	"golang.org/x/sys/unix"
)

// newRoot makes the root of an official image's container.
func newRoot(t *testing.T) (dir string, o disposable.Options) {
	t.Helper()
	dir = t.TempDir()
	for _, d := range []string{"kaniko/ssl/certs", "etc", "tmp", "workspace"} {
		check(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	write(t, dir, "kaniko/.disposable-root", "# strake\n"+dir+"/busybox\n")
	write(t, dir, "kaniko/executor", "program")
	write(t, dir, "kaniko/ssl/certs/ca.crt", "certificate")
	write(t, dir, "busybox/sh", "shell")
	write(t, dir, "etc/hosts", "")
	return dir, disposable.Options{Dir: dir, Home: filepath.Join(dir, "kaniko")}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	full := filepath.Join(dir, name)
	check(t, os.MkdirAll(filepath.Dir(full), 0o755))
	check(t, os.WriteFile(full, []byte(content), 0o644))
}

func open(t *testing.T, o disposable.Options) *disposable.Root {
	t.Helper()
	r, err := disposable.Open(t.Context(), o, nil)
	check(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

// names lists files below dir, without the builder's own.
func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		if rel == "kaniko" {
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() {
			list = append(list, rel)
		}
		return err
	}))
	return list
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestForeign(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string, o *disposable.Options){
		"a Debian": func(t *testing.T, dir string, _ *disposable.Options) { write(t, dir, "bin/sh", "") },
		"no mark": func(t *testing.T, dir string, _ *disposable.Options) {
			check(t, os.Remove(filepath.Join(dir, "kaniko/.disposable-root")))
		},
		"a file in a directory of the image": func(t *testing.T, dir string, _ *disposable.Options) { write(t, dir, "etc/passwd", "") },
		"a program in the root itself": func(t *testing.T, dir string, o *disposable.Options) {
			o.Home = dir
			write(t, dir, ".disposable-root", "")
		},
		"a program elsewhere": func(t *testing.T, _ string, o *disposable.Options) { o.Home = t.TempDir() },
	} {
		t.Run(name, func(t *testing.T) {
			dir, o := newRoot(t)
			spoil(t, dir, &o)
			before := names(t, dir)
			if _, err := disposable.Find(o); !errors.Is(err, disposable.ErrForeign) {
				t.Errorf("Find: %v", err)
			}
			if _, err := disposable.Open(t.Context(), o, nil); !errors.Is(err, disposable.ErrForeign) {
				t.Errorf("Open: %v", err)
			}
			want(t, names(t, dir), before...)
		})
	}
}

// TestMarkerOnVolume has the mark on something that is mounted: it says nothing
// of the root around it.
func TestMarkerOnVolume(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir, o := newRoot(t)
	home := filepath.Join(dir, "kaniko")
	check(t, unix.Mount(home, home, "", unix.MS_BIND, ""))
	defer unix.Unmount(home, unix.MNT_DETACH)
	if _, err := disposable.Find(o); !errors.Is(err, disposable.ErrForeign) || !strings.Contains(err.Error(), "volume") {
		t.Errorf("got %v", err)
	}
}

func TestEmptyKeeps(t *testing.T) {
	dir, o := newRoot(t)
	write(t, dir, "workspace/Dockerfile", "FROM scratch")
	write(t, dir, "out/here/digest", "")
	o.Keep = []string{filepath.Join(dir, "workspace"), filepath.Join(dir, "out/here/digest"), "/elsewhere"}
	r := open(t, o)
	write(t, dir, "usr/bin/sh", "")
	write(t, dir, "out/here/other", "")
	check(t, os.Symlink("/workspace", filepath.Join(dir, "link")))
	check(t, os.Chmod(filepath.Join(dir, "usr/bin"), 0))
	check(t, r.Empty())
	want(t, names(t, dir), "busybox/sh", "out/here/digest", "workspace/Dockerfile")
}

// TestEmptyLeavesMounts puts a volume deep into a stage.
func TestEmptyLeavesMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir, o := newRoot(t)
	r := open(t, o)
	volume := t.TempDir()
	write(t, volume, "data", "precious")
	at := filepath.Join(dir, "var/lib/volume")
	check(t, os.MkdirAll(at, 0o755))
	check(t, unix.Mount(volume, at, "", unix.MS_BIND, ""))
	defer unix.Unmount(at, unix.MNT_DETACH)
	write(t, dir, "var/lib/other", "")
	check(t, r.Empty())
	want(t, names(t, dir), "busybox/sh", "var/lib/volume/data")
	places, err := r.Places()
	check(t, err)
	if !places.Mounted("var/lib/volume/data") || !places.Anchored("var/lib") || places.Reserved("var/lib") || !places.Kept("busybox") {
		t.Errorf("places: %+v", places)
	}
}

// TestLinks is what an ordinary user has where the runtime made the root: links
// into a directory that is open to all.
func TestLinks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	dir, o := newRoot(t)
	stage := filepath.Join(dir, "kaniko/root")
	check(t, os.MkdirAll(filepath.Join(stage, "etc"), 0o755))
	check(t, os.Remove(filepath.Join(dir, "etc/hosts")))
	check(t, os.Remove(filepath.Join(dir, "etc")))
	for _, name := range []string{"etc", "usr", "app", "out"} {
		check(t, os.Symlink(filepath.Join(stage, name), filepath.Join(dir, name)))
	}
	out := filepath.Join(stage, "out")
	check(t, os.Mkdir(out, 0o755))
	check(t, unix.Mount(t.TempDir(), out, "", unix.MS_BIND, ""))
	defer unix.Unmount(out, unix.MNT_DETACH)
	hosts := filepath.Join(stage, "etc/hosts")
	write(t, stage, "etc/hosts", "")
	check(t, unix.Mount(hosts, hosts, "", unix.MS_BIND, ""))
	defer unix.Unmount(hosts, unix.MNT_DETACH)

	// Root itself does without the links, but for the files that are mounted behind them.
	r := open(t, o)
	if r.Dir() != dir || !r.Shows("anything") {
		t.Errorf("root puts stages into %s", r.Dir())
	}
	if to, err := os.Readlink(filepath.Join(dir, "etc/hosts")); to != hosts {
		t.Errorf("etc/hosts leads to %q, %v", to, err)
	}
	places, err := r.Places()
	check(t, err)
	if !places.Reserved("etc/hosts") || places.Reserved("etc/passwd") {
		t.Errorf("places: %+v", places)
	}
	if _, err := os.Lstat(filepath.Join(dir, "out")); err == nil {
		t.Error("a volume that the build does not use is in the root")
	}
	check(t, r.Close())
	// Nor is one that it writes to lost, whether its link is there or was removed by a build before.
	wants := o
	wants.Keep = []string{filepath.Join(dir, "out/image.tar")}
	for range 2 {
		r := open(t, wants)
		if to, err := os.Readlink(filepath.Join(dir, "out")); to != out {
			t.Errorf("out leads to %q, %v", to, err)
		}
		check(t, r.Close())
		check(t, os.Remove(filepath.Join(dir, "out")))
	}
	check(t, os.RemoveAll(filepath.Join(dir, "etc")))
	for _, name := range []string{"etc", "usr", "app"} {
		_ = os.Symlink(filepath.Join(stage, name), filepath.Join(dir, name))
	}

	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		check(t, os.Chmod(d, 0o755))
	}
	for _, d := range []string{"kaniko", "kaniko/root", "kaniko/root/etc"} {
		check(t, os.Chmod(filepath.Join(dir, d), 0o777))
	}
	check(t, os.Chmod(filepath.Join(dir, "kaniko/.inplace"), 0o666))
	asUser(t, func() {
		r, err := disposable.Open(t.Context(), o, nil)
		check(t, err)
		defer r.Close()
		if r.Dir() != stage || !r.Shows("usr") || !r.Shows("proc") || r.Shows("srv") {
			t.Errorf("stages go to %s, links are %q", r.Dir(), r.Links())
		}
		places, err := r.Places()
		check(t, err)
		if !places.Reserved("etc/hosts") || places.Reserved("kaniko") {
			t.Errorf("places: %+v", places)
		}
	})
}

// TestStartedAgain has an image whose links were replaced by a stage that lacks
// what they led to: they are there again when the runtime starts the container
// anew, however the step has dealt with where they lead.
func TestStartedAgain(t *testing.T) {
	dir, o := newRoot(t)
	stage := filepath.Join(dir, "kaniko/root")
	for _, d := range []string{"var", "run/secrets"} {
		check(t, os.MkdirAll(filepath.Join(stage, d), 0o777))
	}
	check(t, os.Chmod(filepath.Join(stage, "run"), 0o777|os.ModeSticky))
	check(t, os.Symlink("/run", filepath.Join(stage, "var/run")))
	for _, name := range []string{"var", "run", "usr"} {
		check(t, os.Symlink(filepath.Join(stage, name), filepath.Join(dir, name)))
	}
	r := open(t, o)
	if _, err := os.Lstat(filepath.Join(dir, "var")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link is in the stage's way: %v", err)
	}
	write(t, dir, "run/of-the-stage", "")
	check(t, os.RemoveAll(stage))
	check(t, r.Close())
	if to, err := os.Readlink(filepath.Join(dir, "var")); to != filepath.Join(stage, "var") {
		t.Errorf("var leads to %q, %v", to, err)
	}
	if to, err := os.Readlink(filepath.Join(dir, "var/run")); to != "/run" {
		t.Errorf("var/run leads to %q, %v", to, err)
	}
	if fi, err := os.Stat(filepath.Join(stage, "run")); err != nil || fi.Mode() != 0o777|fs.ModeDir|fs.ModeSticky {
		t.Errorf("run is %v, %v", fi.Mode(), err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "run/of-the-stage")); err != nil {
		t.Errorf("the last stage is gone: %v", err)
	}
	open(t, o) // the links are no foreign files
}

// asUser runs f as user 1000, on a thread that ends with it.
func asUser(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for _, id := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, errno := unix.RawSyscall(id, 1000, 1000, 1000); errno != 0 {
				t.Error(errno)
				return
			}
		}
		f()
	}()
	<-done
}

func TestPark(t *testing.T) {
	dir, o := newRoot(t)
	o.Keep = []string{filepath.Join(dir, "srv/kept/file")}
	write(t, dir, "srv/kept/file", "")
	r := open(t, o)
	stage := func(name string) {
		write(t, dir, name, name)
		write(t, dir, "usr/"+name, name)
		write(t, dir, "srv/kept/"+name, name)
	}
	stage("a")
	before, err := os.Stat(filepath.Join(dir, "usr"))
	check(t, err)
	a, err := r.Park()
	check(t, err)
	want(t, names(t, dir), "busybox/sh", "srv/kept/file")
	stage("b")
	b, err := r.Park()
	check(t, err)
	check(t, r.Unpark(a))
	want(t, names(t, dir), "a", "busybox/sh", "srv/kept/a", "srv/kept/file", "usr/a")
	after, err := os.Stat(filepath.Join(dir, "usr"))
	check(t, err)
	if !os.SameFile(before, after) {
		t.Error("a directory was copied, not renamed")
	}
	_, err = r.Park()
	check(t, err)
	check(t, r.Unpark(b))
	want(t, names(t, dir), "b", "busybox/sh", "srv/kept/b", "srv/kept/file", "usr/b")
}

// TestKilled has a build that ended without a word: its stage goes, and so does
// what its step left running.
func TestKilled(t *testing.T) {
	dir, o := newRoot(t)
	r := open(t, o)
	c := exec.Command("sh", "-c", "sleep 600 & echo $$; wait")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	check(t, c.Start())
	check(t, r.Running(c.Process.Pid))
	write(t, dir, "bin/sh", "of the stage")
	if _, err := r.Park(); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "bin/sh", "of the stage")
	check(t, r.Close()) // as the kernel does
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	open(t, o)
	want(t, names(t, dir), "busybox/sh")
	select {
	case err := <-done:
		if c.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("the step ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the step runs on")
	}
}

// TestKilledBetweenWrites has a build that was killed when it had noted the end of a
// step, and not yet cut off what the longer note before had behind it.
func TestKilledBetweenWrites(t *testing.T) {
	dir, o := newRoot(t)
	write(t, dir, "kaniko/.inplace", "{\"stages\":true}\nion\":7,\"started\":1}\n")
	write(t, dir, "bin/sh", "of the stage")
	open(t, o)
	want(t, names(t, dir), "busybox/sh")
}

func TestOneAtATime(t *testing.T) {
	_, o := newRoot(t)
	first := open(t, o)
	waits := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-waits; cancel() }()
	if _, err := disposable.Open(ctx, o, func() { close(waits) }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	told := make(chan struct{})
	go func() { <-told; first.Close() }()
	second, err := disposable.Open(t.Context(), o, func() { close(told) })
	check(t, err)
	check(t, second.Close())
}

func TestGuard(t *testing.T) {
	dir, o := newRoot(t)
	secret := filepath.Join(dir, "kaniko/.docker/config.json")
	write(t, dir, "kaniko/.docker/config.json", "secret")
	check(t, os.Chmod(secret, 0o600))
	r := open(t, o)
	g, err := r.Guard(secret, filepath.Join(dir, "kaniko/nosuch"))
	check(t, err)
	defer g.Close()
	for i, harm := range []func(){
		func() {},
		func() { check(t, os.RemoveAll(filepath.Join(dir, "kaniko"))) },
		func() { write(t, dir, "kaniko/executor", "of the step's") },
		func() {
			check(t, os.Remove(filepath.Join(dir, "kaniko/ssl/certs/ca.crt")))
			check(t, os.MkdirAll(filepath.Join(dir, "kaniko/ssl/certs/ca.crt/x"), 0o755))
		},
		func() { check(t, os.Chmod(filepath.Join(dir, "kaniko/executor"), 0o4755)) },
	} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			check(t, g.Before())
			if _, err := os.Lstat(secret); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the secret is to be seen: %v", err)
			}
			harm()
			if err := g.After(); (err != nil) != (i > 0) || i > 0 && !errors.Is(err, disposable.ErrTampered) {
				t.Errorf("got %v", err)
			}
			for name, content := range map[string]string{
				"kaniko/executor": "program", "kaniko/ssl/certs/ca.crt": "certificate", "kaniko/.docker/config.json": "secret",
				"kaniko/.disposable-root": "# strake\n" + dir + "/busybox\n",
			} {
				if b, err := os.ReadFile(filepath.Join(dir, name)); string(b) != content {
					t.Errorf("%s is %q, %v", name, b, err)
				}
			}
			if fi, err := os.Stat(secret); err != nil || fi.Mode() != 0o600 {
				t.Errorf("the secret: %v, %v", fi, err)
			}
		})
	}
}
