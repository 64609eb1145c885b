package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// onThread runs f on a thread of its own, which ends with it: what f does to the
// thread (namespaces, working directory, umask) is seen by nobody else. The
// process' first thread is never taken, because it cannot end and because
// /proc/self speaks of it.
func onThread[T any](f func() (T, error)) (v T, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			v, err = onThread(f) // while this goroutine holds the first thread
			runtime.UnlockOSThread()
			return
		}
		v, err = f()
	}()
	<-done
	return v, err
}

// namespaces are those that a thread has entered; leave undoes the mounts
// before it returns, which the end of the thread would do some time later.
type namespaces struct{ outer int }

// enterNamespaces gives the calling thread, which must be one of onThread,
// mounts, IPC, host name and, for None, a network of its own.
func enterNamespaces(network Network, hostname string) (*namespaces, error) {
	outer, err := unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/mnt", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the mount namespace: %w", err)
	}
	n := &namespaces{outer: outer}
	flags := unix.CLONE_FS | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if network == None {
		flags |= unix.CLONE_NEWNET
	}
	if err := unix.Unshare(flags); err != nil {
		unix.Close(outer)
		return nil, fmt.Errorf("make namespaces: %w", err)
	}
	if err := n.prepare(network, hostname); err != nil {
		return nil, errors.Join(err, n.leave())
	}
	return n, nil
}

func (n *namespaces) prepare(network Network, hostname string) error {
	unix.Umask(0)
	// Not private: what the host unmounts must not be kept by a long step.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if hostname != "" {
		if err := unix.Sethostname([]byte(hostname)); err != nil {
			return fmt.Errorf("set host name %s: %w", hostname, err)
		}
	}
	if network == None {
		return loopbackUp()
	}
	return nil
}

func (n *namespaces) leave() error {
	defer unix.Close(n.outer)
	if err := unix.Setns(n.outer, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("leave the mount namespace: %w", err)
	}
	return nil
}

// loopbackUp switches the interface lo on: 127.0.0.1 is expected to answer even
// without a network.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(ifr))); errno != 0 {
		return fmt.Errorf("switch on the loopback interface: %w", errno)
	}
	return nil
}
