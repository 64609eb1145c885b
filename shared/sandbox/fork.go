package sandbox

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The runtime exports these three to package syscall, and to those who fork as
// it does (gvisor.dev/gvisor is the precedent, go.dev/issue/67401): they block
// signals around the fork and give the child default handlers.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// rawClone calls clone(2) with no further arguments. A child that shares the
// parent's stack overwrites what lies below the caller's frame, so the return
// address is kept in a register; that is why it is not syscall.RawSyscall.
//
//go:noescape
func rawClone(nr, a1, a2 uintptr) uintptr

// forkAndRun makes a child that carries out p, and returns its pid.
func forkAndRun(p *program, flags uintptr) (int, syscall.Errno) {
	r := cloneAndRun(p, flags)
	afterFork()
	if r > ^uintptr(4095) {
		return 0, syscall.Errno(-r)
	}
	return int(r), 0
}

// cloneAndRun returns in the parent only. With CLONE_VM the child runs in this
// very frame while the parent waits, so the parent leaves it at once and all
// else is done by the caller. In the child nothing may allocate, grow the stack,
// take a lock or write a pointer to the heap: see forkAndExecInChild1 of package
// syscall, whose rules these are.
//
//go:noinline
//go:norace
//go:nocheckptr
func cloneAndRun(p *program, flags uintptr) (pid uintptr) {
	var (
		i, tries    int
		c           *call
		errno, kept syscall.Errno
	)
	beforeFork()
	if runtime.GOARCH == "s390x" { // CONFIG_CLONE_BACKWARDS2: the stack comes first
		pid = rawClone(unix.SYS_CLONE, 0, flags)
	} else {
		pid = rawClone(unix.SYS_CLONE, flags, 0)
	}
	if pid != 0 {
		return pid
	}

	afterForkInChild()
	for i = 0; i < len(p.calls); i++ {
		c = &p.calls[i]
		_, _, errno = syscall.RawSyscall6(c.nr, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
		if errno != 0 && errno != c.ignore[0] && errno != c.ignore[1] {
			goto failed
		}
		if c.check != nil && *c.check != c.want {
			errno = syscall.ENOENT
			goto failed
		}
	}
	if len(p.paths) == 0 {
		for {
			syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 0, 0, 0, 0, 0, 0)
		}
	}
	// As execvp(3): a candidate that is not there is passed over, one that may
	// not be executed is remembered.
	kept = syscall.ENOENT
	for i = 0; i < len(p.paths); i++ {
		for tries = 0; tries < 20; tries++ {
			_, _, errno = syscall.RawSyscall6(unix.SYS_EXECVE, p.paths[i], p.argv, p.envp, 0, 0, 0)
			if errno != syscall.ETXTBSY {
				break
			}
			// Another child of ours holds a descriptor to the file until it
			// has executed its program (go.dev/issue/22315).
			syscall.RawSyscall6(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&p.pause)), 0, 0, 0, 0, 0)
		}
		if errno == syscall.EACCES {
			kept = errno
		} else if errno != syscall.ENOENT && errno != syscall.ENOTDIR {
			kept = errno
			break
		}
	}
	i, errno = len(p.calls), kept

failed:
	p.report[0], p.report[1] = uintptr(i), uintptr(errno)
	syscall.RawSyscall6(unix.SYS_WRITE, p.errfd, uintptr(unsafe.Pointer(&p.report)), unsafe.Sizeof(p.report), 0, 0, 0)
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 253, 0, 0, 0, 0, 0)
	}
}
