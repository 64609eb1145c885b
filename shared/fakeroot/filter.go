package fakeroot

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// offsets into struct seccomp_data
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16
)

const retErrno = uint32(unix.SECCOMP_RET_ERRNO)

// assembler collects the instructions of a classic BPF program.
type assembler struct{ code []unix.SockFilter }

func (a *assembler) load(offset uint32) {
	a.code = append(a.code, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

func (a *assembler) ret(action uint32) {
	a.code = append(a.code, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action})
}

// jump compares the accumulator with k and skips yes or no instructions.
func (a *assembler) jump(test uint16, k uint32, yes, no uint8) {
	a.code = append(a.code, unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, K: k, Jt: yes, Jf: no})
}

// block emits what body emits, to be skipped where the accumulator is not k. It may be of any length.
func (a *assembler) block(k uint32, body func(*assembler)) {
	var inner assembler
	body(&inner)
	a.jump(unix.BPF_JEQ, k, 1, 0)
	a.code = append(a.code, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(inner.code))})
	a.code = append(a.code, inner.code...)
}

// assemble makes the filter for the ABIs of this machine. Calls of others are handed over too, to be refused with
// a reason.
func assemble(abis []*abi) []unix.SockFilter {
	var a assembler
	a.load(dataArch)
	for _, b := range abis {
		a.block(b.audit, b.assemble)
	}
	a.ret(unix.SECCOMP_RET_USER_NOTIF)
	return a.code
}

func (b *abi) assemble(a *assembler) {
	a.load(dataNr)
	if b.limit != 0 { // x32 shares the number of the architecture
		a.jump(unix.BPF_JGE, b.limit, 0, 1)
		a.ret(retErrno | uint32(unix.ENOSYS))
	}
	for i := range b.calls {
		c := &b.calls[i]
		a.block(c.nr, c.when.assemble)
	}
	// io_uring carries out calls that no filter sees; programs do without it.
	a.jump(unix.BPF_JEQ, nrIoUringSetup, 0, 1)
	a.ret(retErrno | uint32(unix.ENOSYS))
	a.ret(unix.SECCOMP_RET_ALLOW)
}

// condition is what a filter can know of a call: its arguments, not what they point to. The zero value is always true.
type condition struct {
	arg   int
	mask  uint32   // any of these bits
	oneOf []uint32 // or one of these values
}

func (c condition) assemble(a *assembler) {
	if c.mask == 0 && c.oneOf == nil {
		a.ret(unix.SECCOMP_RET_USER_NOTIF)
		return
	}
	a.load(dataArgs + uint32(8*c.arg) + lowWord)
	if c.mask != 0 {
		a.jump(unix.BPF_JSET, c.mask, 0, 1)
		a.ret(unix.SECCOMP_RET_USER_NOTIF)
	}
	for _, v := range c.oneOf {
		a.jump(unix.BPF_JEQ, v, 0, 1)
		a.ret(unix.SECCOMP_RET_USER_NOTIF)
	}
	a.ret(unix.SECCOMP_RET_ALLOW)
}

// Install puts the filter on the calling thread and returns where its calls arrive. Processes that the thread
// makes from now on inherit it, no other thread has it. The thread must be locked (runtime.LockOSThread) and end
// without being unlocked. no_new_privs is set where the kernel demands it.
//
// A supervisor must serve before the thread makes a process. The child must not be made by vfork (CLONE_VM): its
// calls before execve are handed over like any other, and a parent that waits for it in a raw system call can keep
// the runtime from running the supervisor. The child must not change its user itself, Supervisor.Identity does that.
// The thread's own calls are passed on to the kernel. The Links, if there are any, are those of the supervisor.
func Install(l *Links) (*Listener, error) {
	abis := abisFor(l)
	if abis == nil {
		return nil, fmt.Errorf("%w: no table of system calls for this architecture", ErrUnsupported)
	}
	code := assemble(abis)
	fd, err := install(code, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	if errors.Is(err, unix.EINVAL) { // before Linux 5.19
		fd, err = install(code, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: install a seccomp filter: %w", ErrUnsupported, err)
	}
	listener := &Listener{fd: fd}
	listener.wakeSynchronously()
	return listener, nil
}

func install(code []unix.SockFilter, flags uintptr) (int, error) {
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	set := func() (int, unix.Errno) {
		fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
		return int(fd), errno
	}
	fd, errno := set()
	if errno == unix.EACCES { // no CAP_SYS_ADMIN
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return -1, os.NewSyscallError("prctl(PR_SET_NO_NEW_PRIVS)", err)
		}
		fd, errno = set()
	}
	if errno != 0 {
		return -1, errno
	}
	return fd, nil
}
