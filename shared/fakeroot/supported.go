package fakeroot

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Supported tries here what the emulation rests on, on a thread that ends afterwards: a filter, its calls being handed over,
// answered, given a descriptor, and the memory of the caller being read and written. The error matches ErrUnsupported.
func Supported() error {
	if err := mayTrace(); err != nil {
		return err
	}
	t := trial{listener: make(chan *Listener, 1), asked: make(chan error, 1), path: []byte("/dev/null\x00")}
	go t.ask()
	l := <-t.listener
	if l == nil {
		return <-t.asked
	}
	served := t.serve(l)
	err := errors.Join(l.Close(), served) // what still waits gets ENOSYS now
	if err := errors.Join(err, <-t.asked); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return nil
}

// mayTrace looks for the one thing that a thread of our own would not show: whether we may look into the memory of our children.
func mayTrace() error {
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil {
		return nil // no Yama, or no /proc/sys
	}
	if scope := strings.TrimSpace(string(b)); scope == "2" || scope == "3" {
		return fmt.Errorf("%w: kernel.yama.ptrace_scope is %s, so that the memory of a step's processes cannot be read: set it to 1 or 0", ErrUnsupported, scope)
	}
	return nil
}

// trial is a thread that makes two calls which are handed over.
type trial struct {
	listener chan *Listener
	asked    chan error
	path     []byte
}

const trialID = 4242

func (t *trial) ask() {
	runtime.LockOSThread() // and ends with the thread
	if unix.Gettid() == unix.Getpid() {
		done := make(chan struct{})
		go func() { // while this goroutine holds the first thread, which must not be taken
			defer close(done)
			t.ask()
		}()
		<-done
		runtime.UnlockOSThread()
		return
	}
	l, err := Install(nil)
	t.listener <- l
	if err != nil {
		t.asked <- err
		return
	}
	t.asked <- t.calls()
}

func (t *trial) calls() error {
	var ids [3]uint32
	// Not unix.Getresuid: a raw system call would keep the runtime waiting.
	_, _, errno := unix.Syscall(unix.SYS_GETRESUID, uintptr(unsafe.Pointer(&ids[0])), uintptr(unsafe.Pointer(&ids[1])), uintptr(unsafe.Pointer(&ids[2])))
	if errno != 0 || ids[0] != trialID {
		return fmt.Errorf("a system call was not answered by a supervisor: %w", errno)
	}
	dir := unix.AT_FDCWD
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(&t.path[0])), unix.O_CREAT|unix.O_RDWR, 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("a supervisor could not hand over a file: %w", errno)
	}
	return unix.Close(int(fd))
}

// serve answers the two calls.
func (t *trial) serve(l *Listener) error {
	c := call{trap: &trap{}, s: &service{Listener: l, buf: make([]byte, unix.PathMax)}}
	if err := t.receive(&c); err != nil {
		return err
	}
	if !c.writeIDs(c.n.args[0], trialID) {
		return errors.New("write to the memory of a process: refused (process_vm_writev)")
	}
	if errno := l.send(&response{id: c.n.id}); errno != 0 {
		return fmt.Errorf("answer a system call: %w", errno)
	}
	if err := t.receive(&c); err != nil {
		return err
	}
	path, _ := c.path(c.n.args[1])
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("read the memory of a process: it has the path %q: %w", path, err)
	}
	defer unix.Close(fd)
	if errno := l.sendFD(c.n.id, fd, true); errno != 0 {
		return fmt.Errorf("hand over a file: %w (it takes Linux 5.14)", errno)
	}
	return nil
}

func (t *trial) receive(c *call) error {
	fds := []unix.PollFd{{Fd: int32(c.s.fd), Events: unix.POLLIN}}
	const patience = 10_000 // milliseconds
	for {
		n, err := unix.Poll(fds, patience)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 || fds[0].Revents&unix.POLLIN == 0 {
			return fmt.Errorf("wait for a system call of our own: it was not handed over (poll: %v)", err)
		}
		c.n = new(notification)
		if errno := c.s.receive(c.n); errno != 0 {
			return fmt.Errorf("receive a system call: %w", errno)
		}
		return nil
	}
}
