package fakeroot

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// blockSignals keeps the goroutine on its thread, and signals from that thread, until what it returns is called. The
// runtime itself sends some, to take the processor from who has it, and any thread can be the one that SIGCHLD is for.
//
// A signal must not break off SECCOMP_IOCTL_NOTIF_ADDFD with SECCOMP_ADDFD_FLAG_SEND: before the process has woken up, the
// kernel takes the descriptor back but not the answer (seccomp_notify_addfd in kernel/seccomp.c), and open(2) returns 0, with
// no file behind it. A goroutine with a thread of its own is also answered faster, since that is warm.
func blockSignals() (unblock func(), err error) {
	runtime.LockOSThread()
	var all, before unix.Sigset_t
	const bits = unix.Signal(unsafe.Sizeof(all.Val[0]) * 8)
	for s := unix.Signal(1); s < numSignals; s++ {
		if !ownFault(s) {
			all.Val[(s-1)/bits] |= 1 << ((s - 1) % bits)
		}
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, &before); err != nil {
		runtime.UnlockOSThread()
		return nil, os.NewSyscallError("rt_sigprocmask", err)
	}
	return func() {
		// A thread that could not be given back as it was ends with its goroutine.
		if unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) == nil {
			runtime.UnlockOSThread()
		}
	}, nil
}

const numSignals = 65 // _NSIG + 1

// ownFault tells whether a signal is about what the thread itself has done: the runtime makes a panic of it.
func ownFault(s unix.Signal) bool {
	switch s {
	case unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGSYS:
		return true
	}
	return false
}
