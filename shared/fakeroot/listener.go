package fakeroot

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Listener is where the calls arrive that a filter hands over.
type Listener struct{ fd int }

// Close ends the emulation: calls that would be handed over fail with ENOSYS from then on.
func (l *Listener) Close() error { return unix.Close(l.fd) }

// notification is struct seccomp_notif.
type notification struct {
	id    uint64
	pid   uint32 // of the thread
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// addition is struct seccomp_notif_addfd.
type addition struct {
	id                            uint64
	flags, srcfd, newfd, newflags uint32
}

const (
	ioctlIDValid  = ioW | 8<<16 | '!'<<8 | 2
	ioctlAddFD    = ioW | 24<<16 | '!'<<8 | 3
	ioctlSetFlags = ioW | 8<<16 | '!'<<8 | 4
)

func (l *Listener) ioctl(req uintptr, arg unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), req, uintptr(arg))
	return errno
}

// wakeSynchronously keeps supervisor and process on one processor, which makes an answer faster. Since Linux 6.6; it
// does not matter whether it is taken.
func (l *Listener) wakeSynchronously() {
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), ioctlSetFlags, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
}

func (l *Listener) receive(n *notification) unix.Errno {
	*n = notification{} // the kernel demands it
	return l.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(n))
}

func (l *Listener) send(r *response) unix.Errno {
	return l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(r))
}

// valid tells whether the process still waits for an answer: if so, what was read of /proc/PID before was its own.
func (l *Listener) valid(id uint64) bool {
	return l.ioctl(ioctlIDValid, unsafe.Pointer(&id)) == 0
}

// sendFD gives the process a copy of fd, whose number is the answer.
func (l *Listener) sendFD(id uint64, fd int, cloexec bool) unix.Errno {
	a := addition{id: id, flags: unix.SECCOMP_ADDFD_FLAG_SEND, srcfd: uint32(fd)}
	if cloexec {
		a.newflags = unix.O_CLOEXEC
	}
	return l.ioctl(ioctlAddFD, unsafe.Pointer(&a))
}
