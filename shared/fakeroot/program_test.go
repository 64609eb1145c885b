package fakeroot

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const programEnv = "STRAKE_FAKEROOT_PROGRAM"

// programs are what this binary does when it is the program that runs under the emulation: a static one of Go's, whose
// system calls no C library makes.
var programs = map[string]func() error{
	"static": static,
	"bench":  bench,
	"create": create,
}

// static changes its user in all threads and looks at files from many of them.
func static() error {
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			name := fmt.Sprint("f", i)
			_ = os.WriteFile(name, nil, 0o400)
			_ = os.Chown(name, i, 100+i)
			_ = syscall.Chmod(name, 0o6711) // not os.Chmod, which has bits of its own
		})
	}
	wg.Wait()
	if err := syscall.Setgroups([]int{70007, 70008}); err != nil {
		return err
	}
	if err := syscall.Setgid(1001); err != nil {
		return err
	}
	if err := syscall.Setuid(1002); err != nil {
		return err
	}
	for i := range 30 {
		wg.Go(func() {
			runtime.LockOSThread()
			if unix.Getuid() != 1002 || unix.Getegid() != 1001 {
				fmt.Println("a thread is", unix.Getuid(), unix.Getegid())
			}
			st, err := os.Stat(fmt.Sprint("f", i))
			if err != nil || int(st.Sys().(*syscall.Stat_t).Uid) != i {
				fmt.Println(st, err)
			}
			if err := os.WriteFile(fmt.Sprint("open/g", i), []byte("x"), 0o640); err != nil {
				fmt.Println(err)
			}
		})
	}
	wg.Wait()
	fmt.Println(os.Getuid(), os.Geteuid(), os.Getgid(), syscall.Setuid(0))
	out, err := exec.Command("id").Output()
	fmt.Printf("%s", out)
	return err
}

// create makes files as dpkg does: those that nobody may open are made by the supervisor.
func create() error {
	for i := range 20_000 {
		fd, err := unix.Open("new", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0)
		if err != nil || fd <= 2 {
			return fmt.Errorf("file %d has the descriptor %d, %v", i, fd, err)
		}
		if n, err := unix.Write(fd, []byte("text")); n != 4 {
			return fmt.Errorf("write file %d: %v", i, err)
		}
		unix.Close(fd)
		if err := os.Remove("new"); err != nil {
			return err
		}
	}
	return nil
}

// bench measures calls, in microseconds.
func bench() error {
	measure := func(what string, n int, f func(i int) error) {
		start := time.Now()
		for i := range n {
			if err := f(i); err != nil {
				fmt.Println(what, err)
				return
			}
		}
		fmt.Printf("%-12s %8.2f µs\n", what, float64(time.Since(start).Nanoseconds())/1000/float64(n))
	}
	if err := os.WriteFile("file", nil, 0o644); err != nil {
		return err
	}
	fd, err := unix.Open("file", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	measure("getuid", 20000, func(int) error { unix.Getuid(); return nil })
	measure("stat", 20000, func(int) error { return unix.Stat("file", &st) })
	measure("fstat", 20000, func(int) error { return unix.Fstat(fd, &st) })
	measure("open", 20000, func(int) error {
		fd, err := unix.Open("file", unix.O_RDONLY, 0)
		unix.Close(fd)
		return err
	})
	measure("open O_CREAT", 20000, func(int) error {
		fd, err := unix.Open("file", unix.O_RDWR|unix.O_CREAT, 0o644)
		unix.Close(fd)
		return err
	})
	measure("chown", 20000, func(i int) error { return unix.Chown("file", os.Geteuid(), os.Getegid()) })
	measure("fork+exec", 300, func(int) error { return exec.Command("/bin/true").Run() })
	return nil
}

// BenchmarkCalls prints what calls cost under the emulation and without it.
func BenchmarkCalls(b *testing.B) {
	for b.Loop() {
		r := emulate(b, order{Dir: workDir(b, builderID), Args: []string{helperBinary(b)}, Env: []string{helperEnv + "=", programEnv + "=bench"}})
		b.Logf("emulated (%v):\n%s%s", r.Stats, r.Output, r.Err)
		cmd := exec.Command(helperBinary(b))
		cmd.Dir = workDir(b, 0)
		cmd.Env = append(os.Environ(), programEnv+"=bench")
		out, _ := cmd.CombinedOutput()
		b.Logf("real root:\n%s", out)
	}
}
