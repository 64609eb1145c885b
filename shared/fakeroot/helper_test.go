package fakeroot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// order is what the test wants from the builder, which is this binary executed again as a user without rights.
type order struct {
	Dir      string
	Args     []string
	Env      []string
	Identity Identity
	Load     string // an earlier SaveTree
	Probe    bool   // only ask Supported
	Kill     bool   // stop serving by the context when the first process has ended
	Alone    bool   // the builder is in a user namespace with no ids but its own
	Disturb  bool   // send signals to all threads of the builder
}

// report is what comes back.
type report struct {
	Dir    string
	Code   int
	Output string
	Err    string
	Tree   []string
	Stats  Stats
	Saved  string
	Fds    int // descriptors that are left over
}

const helperEnv = "STRAKE_FAKEROOT_TEST"

func TestMain(m *testing.M) {
	if f := programs[os.Getenv(programEnv)]; f != nil {
		if err := f(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(helperEnv) != "" {
		helper()
		return
	}
	os.Exit(m.Run())
}

// helper is the builder.
func helper() {
	var o order
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		panic(err)
	}
	r := o.carryOut()
	if err := json.NewEncoder(os.NewFile(3, "report")).Encode(r); err != nil {
		panic(err)
	}
}

// onThread runs f on a thread that ends with it. The first one of a process cannot.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onThread(f)
			select {}
		}
		f()
	}()
}

// disturb sends SIGURG to the threads, as the runtime does to those that it takes the processor from, until stop is called.
func disturb() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var w sync.WaitGroup
	w.Go(func() {
		for ctx.Err() == nil {
			list, _ := os.ReadDir("/proc/self/task")
			for _, e := range list {
				if tid, err := strconv.Atoi(e.Name()); err == nil {
					_ = unix.Tgkill(unix.Getpid(), tid, unix.SIGURG)
				}
			}
		}
	})
	return func() {
		cancel()
		w.Wait()
	}
}

func countFDs() int {
	list, _ := os.ReadDir("/proc/self/fd")
	return len(list)
}

func (o *order) carryOut() (r report) {
	// os.StartProcess makes its child by vfork: no collection may wait for it (see Install).
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(4)
	if o.Probe {
		if err := Supported(); err != nil {
			r.Err = err.Error()
		}
		return r
	}
	rec := NewRecord()
	if o.Load != "" {
		if err := rec.LoadTree(o.Dir, strings.NewReader(o.Load)); err != nil {
			r.Err = err.Error()
			return r
		}
	}
	if err := exec.Command("true").Run(); err != nil { // makes what the runtime keeps open
		panic(err)
	}
	before := countFDs()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error, 1)
	ended := make(chan error, 1)
	var out bytes.Buffer
	onThread(func() {
		l, err := Install(nil)
		if err != nil {
			served <- err
			ended <- err
			return
		}
		go func() {
			s := Supervisor{Record: rec, Identity: o.Identity}
			var err error
			r.Stats, err = s.Serve(ctx, l)
			served <- errors.Join(err, l.Close())
		}()
		cmd := exec.Command(o.Args[0], o.Args[1:]...)
		cmd.Dir = o.Dir
		cmd.Env = append(os.Environ(), o.Env...)
		cmd.Stdout, cmd.Stderr = &out, &out
		ended <- cmd.Run()
	})
	quiet := func() {}
	if o.Disturb {
		quiet = disturb()
	}
	err := <-ended
	if o.Kill {
		cancel()
	}
	serr := <-served
	quiet()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.Code = exit.ExitCode()
		if exit.ExitCode() < 0 {
			r.Code = 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
		}
		err = nil
	}
	if o.Kill && errors.Is(serr, context.Canceled) {
		serr = nil
	}
	if err = errors.Join(err, serr); err != nil {
		r.Err = err.Error()
	}
	r.Output = out.String()
	r.Fds = countFDs() - before
	r.Tree = listTree(o.Dir, rec)
	var saved bytes.Buffer
	if err := rec.SaveTree(o.Dir, &saved); err != nil {
		r.Err += err.Error()
	}
	r.Saved = saved.String()
	return r
}

// listTree describes all files below dir as a layer would have them. Without a record it is the disk's truth.
func listTree(dir string, rec *Record) []string {
	var list []string
	v := &service{rec: NewRecord(), uid: none, gid: none}
	if rec != nil {
		v.rec, v.uid, v.gid = rec, uint32(os.Geteuid()), uint32(os.Getegid())
	}
	_ = filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		if err != nil {
			list = append(list, fmt.Sprintf("%s: %v", rel, err))
			return nil
		}
		fd, err := unix.Open(p, openPath|unix.O_NOFOLLOW, 0)
		if err != nil {
			list = append(list, err.Error())
			return nil
		}
		defer unix.Close(fd)
		f, err := v.lookAt(fd)
		if err != nil {
			list = append(list, err.Error())
			return nil
		}
		line := fmt.Sprintf("%s %07o %d:%d", rel, f.mode, f.uid, f.gid)
		if isDevice(f.mode) {
			line += fmt.Sprintf(" dev %d:%d", unix.Major(f.rdev), unix.Minor(f.rdev))
		}
		for _, name := range []string{xattrCaps, xattrACL, xattrDefaultACL, "user.test", "trusted.test"} {
			buf := make([]byte, 1000)
			n, err := unix.Lgetxattr(p, name, buf)
			value, have := f.attr.Xattrs[name]
			if !have && err == nil {
				value, have = string(buf[:n]), true
			}
			if have {
				line += fmt.Sprintf(" %s=%x", name, value)
			}
		}
		list = append(list, line)
		return nil
	})
	slices.Sort(list)
	return list
}

const builderID = 1000

// emulate runs an order as user 1000, without capabilities, with no_new_privs.
func emulate(t testing.TB, o order) report {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("wants to be root, to become a user without rights")
	}
	in, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	rd, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	args := []string{"--reuid=1000", "--regid=1000", "--clear-groups", "--bounding-set=-all", "--no-new-privs"}
	if o.Alone {
		args = append(args, "unshare", "--user", "--map-root-user")
	}
	cmd := exec.CommandContext(ctx, "setpriv", append(args, helperBinary(t))...)
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	cmd.Stdin = bytes.NewReader(in)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{wr}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wr.Close()
	var r report
	derr := json.NewDecoder(rd).Decode(&r)
	if err := errors.Join(derr, cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	r.Dir = o.Dir
	if r.Fds != 0 {
		t.Errorf("%d descriptors are left over", r.Fds)
	}
	return r
}

// helperBinary is this test where user 1000 can execute it.
func helperBinary(t testing.TB) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	dir := shared(t)
	name := filepath.Join(dir, "builder")
	if err := os.WriteFile(name, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// shared makes a directory that everybody can reach.
func shared(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "fakeroot")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// workDir is an empty directory of a user.
func workDir(t testing.TB, uid int) string {
	t.Helper()
	dir := filepath.Join(shared(t), "work")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, uid, uid)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// reallyRoot runs a script as root with the capabilities of a container.
func reallyRoot(t testing.TB, dir, script string) report {
	t.Helper()
	set := "-all"
	for _, c := range strings.Fields("chown dac_override fsetid fowner mknod net_raw setgid setuid setfcap setpcap net_bind_service sys_chroot kill audit_write") {
		set += ",+" + c
	}
	cmd := exec.Command("setpriv", "--clear-groups", "--inh-caps=-all", "--bounding-set="+set, "sh", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	r := report{Output: string(out)}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.Code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	r.Tree = listTree(dir, nil)
	return r
}
