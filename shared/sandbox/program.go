package sandbox

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// program is what a child does between fork and exec. All memory is there
// before the fork, because the child can neither allocate nor grow its stack.
type program struct {
	calls []call
	// exec: candidates for the path of the program; none means exit with 0.
	paths      []uintptr
	argv, envp uintptr
	name       string

	errfd  uintptr    // where the child reports
	report [2]uintptr // index of the failed call (len(calls) for exec) and errno

	pause unix.Timespec
	err   error // the first that building it met
	keep  []any // what calls point to
}

// stage marks calls that have another way of being done.
type stage uint8

const (
	stageOther stage = iota
	stageProc        // a fresh /proc
	stagePivot       // changing the root by pivot_root
)

// call is one system call of a program.
type call struct {
	nr   uintptr
	args [6]uintptr
	// what the call does, for an error: "mount /proc".
	what   string
	stage  stage
	ignore [2]syscall.Errno
	// check, if set, must point to want after the call.
	check *byte
	want  byte
}

// callError is a call of a program that the kernel refused.
type callError struct {
	what  string
	stage stage
	errno syscall.Errno
}

func (e *callError) Error() string { return fmt.Sprintf("%s: %v", e.what, e.errno) }
func (e *callError) Unwrap() error { return e.errno }

// add appends a call and returns it for further settings.
func (p *program) add(what string, nr uintptr, args ...uintptr) *call {
	c := call{nr: nr, what: what}
	copy(c.args[:], args)
	p.calls = append(p.calls, c)
	return &p.calls[len(p.calls)-1]
}

// try is add for a call that may fail with errno.
func (p *program) try(errnos []syscall.Errno, what string, nr uintptr, args ...uintptr) {
	copy(p.add(what, nr, args...).ignore[:], errnos)
}

// str keeps s as a C string and returns its address.
func (p *program) str(s string) uintptr {
	b, err := syscall.ByteSliceFromString(s)
	if err != nil {
		if p.err == nil {
			p.err = fmt.Errorf("%q: a NUL byte in it", s)
		}
		return 0
	}
	p.keep = append(p.keep, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

// strs keeps a NULL-terminated array of C strings.
func (p *program) strs(list []string) uintptr {
	array := make([]uintptr, len(list)+1)
	for i, s := range list {
		array[i] = p.str(s)
	}
	p.keep = append(p.keep, array)
	return uintptr(unsafe.Pointer(&array[0]))
}

// hold keeps v and returns its address.
func hold[T any](p *program, v *T) uintptr {
	p.keep = append(p.keep, v)
	return uintptr(unsafe.Pointer(v))
}

// mount appends mount(2); paths are relative to the child's directory.
func (p *program) mount(source, target, fstype string, flags uintptr, data string) *call {
	var d uintptr
	if data != "" {
		d = p.str(data)
	}
	return p.add("mount "+target, unix.SYS_MOUNT, p.str(source), p.str(target), p.str(fstype), flags, d)
}

// child is a process made by fork, whose report is not read yet.
type child struct {
	pid    int
	prog   *program
	report int
}

// fork starts a child that carries out p. With CLONE_VFORK in flags it returns
// when the child has executed its program or ended.
func (p *program) fork(flags uintptr) (*child, error) {
	if p.err != nil {
		return nil, p.err
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	p.errfd = uintptr(fds[1])
	p.closeDescriptors()
	p.pause = unix.Timespec{Nsec: 5e6}
	pid, errno := forkAndRun(p, flags|uintptr(unix.SIGCHLD))
	runtime.KeepAlive(p)
	unix.Close(fds[1])
	if errno != 0 {
		unix.Close(fds[0])
		return nil, fmt.Errorf("make a process: %w", errno)
	}
	return &child{pid: pid, prog: p, report: fds[0]}, nil
}

// marker is the place of closeDescriptors in a program.
const marker = ^uintptr(0)

// markDescriptors says where the child closes what it inherited.
func (p *program) markDescriptors() {
	p.add("close descriptors", marker)
	p.add("close descriptors", marker)
}

// closeDescriptors replaces the marks by calls that close all but the standard
// descriptors and the report. An old kernel (before 5.9) or seccomp profile
// refuses close_range: there the descriptors are closed by exec.
func (p *program) closeDescriptors() {
	above := [6]uintptr{p.errfd + 1, uintptr(^uint32(0))}
	between := [6]uintptr{3, p.errfd - 1}
	if p.errfd == 3 { // the kernel calls an empty range an error
		between = above
	}
	for i := range p.calls {
		if c := &p.calls[i]; c.nr == marker {
			c.nr, c.args, between = unix.SYS_CLOSE_RANGE, between, above
			c.ignore = [2]syscall.Errno{unix.ENOSYS, unix.EPERM}
		}
	}
}

// started reads the report: nil when the program was executed. A child that
// could not is waited for.
func (c *child) started() error {
	defer unix.Close(c.report)
	var report [2]uintptr
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&report)), unsafe.Sizeof(report))
	n, err := retry(func() (int, error) { return unix.Read(c.report, buf) })
	if n == 0 && err == nil {
		return nil
	}
	var status unix.WaitStatus
	_, _ = retry(func() (int, error) { return unix.Wait4(c.pid, &status, 0, nil) })
	if err != nil || n != len(buf) {
		return fmt.Errorf("read what became of the process: %w", err)
	}
	errno := syscall.Errno(report[1])
	if i := int(report[0]); i < len(c.prog.calls) {
		return &callError{what: c.prog.calls[i].what, stage: c.prog.calls[i].stage, errno: errno}
	}
	return &ExecError{Name: c.prog.name, Err: errno}
}

// retry calls f again for as long as a signal interrupts it.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}
