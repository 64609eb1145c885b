package fakeroot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Supervisor answers the calls of one step's processes.
type Supervisor struct {
	// Record is asked for owners and keeps what the processes change.
	Record *Record
	// Identity is who the first process is. Root gets the capabilities that a container has by default.
	Identity Identity
	// Links, where set, are what the processes see in the root directory's place. The filter must be one for them.
	Links *Links
}

// Serve answers until no process with the listener's filter is left, or ctx is done. The thread that installed
// the filter counts as one. It does not close l.
func (s *Supervisor) Serve(ctx context.Context, l *Listener) (Stats, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return Stats{}, os.NewSyscallError("eventfd", err)
	}
	defer unix.Close(wake)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 1})
	})
	defer func() {
		if !stop() {
			<-stopped // it must not write to a descriptor that is another's by then
		}
	}()
	undisturbed, err := blockSignals()
	if err != nil {
		return Stats{}, err
	}
	defer undisturbed()
	v, err := newService(s, l)
	if err != nil {
		return Stats{}, err
	}
	defer v.close()
	err = v.run(wake)
	return v.stats, errors.Join(err, context.Cause(ctx))
}

// service is a supervisor at work, used by one goroutine.
type service struct {
	*Listener
	rec      *Record
	first    *cred
	uid, gid uint32 // the builder's on the disk, shown as root's
	pid      int    // the builder's
	abis     []*abi
	threads  map[int]*thread
	started  bool // the first process is known
	executed bool // it has begun to execute its program
	divided  bool // some process may have threads that are different users
	oddUmask bool // some process takes rights from owners by its umask
	roots    roots
	links    *links
	procfs   map[uint64]bool // by device: is it one?
	swept    time.Time
	buf      []byte
	stats    Stats
	foreign  *ForeignError
}

func newService(s *Supervisor, l *Listener) (*service, error) {
	v := &service{
		Listener: l, rec: s.Record, first: newCred(s.Identity), uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()), pid: os.Getpid(),
		abis: abisFor(s.Links), threads: make(map[int]*thread), procfs: make(map[uint64]bool), swept: time.Now(), buf: make([]byte, unix.PathMax),
		stats: Stats{ByName: make(map[string]int64)},
	}
	if err := v.roots.init(); err != nil {
		return nil, err
	}
	var err error
	if v.links, err = openLinks(s.Links); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *service) close() {
	v.roots.close()
	v.links.close()
}

// sweepEvery is how often the ids of dead threads are dropped: less often than they can come round again.
const sweepEvery = time.Second

func (v *service) run(wake int) error {
	fds := []unix.PollFd{{Fd: int32(v.fd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
	for {
		timeout := -1
		if len(v.threads) > 0 {
			timeout = int(sweepEvery / time.Millisecond)
		}
		_, err := unix.Poll(fds, timeout)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("wait for system calls: %w", err)
		}
		if time.Since(v.swept) > sweepEvery {
			v.sweep()
		}
		if err != nil {
			continue
		}
		switch {
		case fds[1].Revents != 0:
			return nil
		case fds[0].Revents&unix.POLLIN != 0:
			if err := v.next(); err != nil {
				return err
			}
		case fds[0].Revents != 0: // POLLHUP: the last process is gone
			if v.foreign != nil {
				return v.foreign
			}
			return nil
		}
	}
}

// next takes one call and answers it.
func (v *service) next() error {
	var n notification
	switch errno := v.receive(&n); errno {
	case 0:
	case unix.ENOENT, unix.EINTR, unix.EAGAIN: // the process was killed meanwhile
		return nil
	default:
		return fmt.Errorf("receive a system call: %w", errno)
	}
	v.stats.Calls++
	a := v.answer(&n)
	if a.sent {
		return nil
	}
	r := response{id: n.id, val: a.val, errno: -int32(a.errno)}
	if a.pass {
		v.stats.Passed++
		r = response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	}
	switch errno := v.send(&r); errno {
	case 0, unix.ENOENT, unix.EINTR: // killed, or a signal came before the answer (without WAIT_KILLABLE_RECV)
		return nil
	default:
		return fmt.Errorf("answer a system call: %w", errno)
	}
}

// answer finds who handles a call.
func (v *service) answer(n *notification) answer {
	for _, b := range v.abis {
		if b.audit != n.arch {
			continue
		}
		k := b.find(uint32(n.nr))
		if k == nil {
			return pass // the filter knows the same table
		}
		t, err := v.thread(int(n.pid))
		if err != nil || t.tgid == v.pid { // gone, or the builder's own thread
			return pass
		}
		if !v.executed && !k.executes() {
			// The builder's own part of the first process: it gives up rights for good, and enters its root.
			v.roots.epoch++
			return pass
		}
		v.executed = true
		v.stats.ByName[k.name]++
		c := call{s: v, n: n, t: t, trap: k}
		k.arguments(&c)
		return k.handle(&c)
	}
	return v.refuse(n)
}

// refuse ends a program of an ABI that is not known.
func (v *service) refuse(n *notification) answer {
	if v.foreign == nil {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", n.pid))
		v.foreign = &ForeignError{PID: int(n.pid), Name: string(trimNewline(name))}
	}
	if v.valid(n.id) {
		_ = unix.Kill(int(n.pid), unix.SIGSYS)
	}
	return fail(unix.ENOSYS)
}

func trimNewline(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		return b[:n-1]
	}
	return b
}

// call is a system call of a process, its arguments in the order of the *at call that does the same.
type call struct {
	*trap
	s   *service
	n   *notification
	t   *thread
	arg [7]uint64
}

// alive tells whether the process still waits for the answer.
func (c *call) alive() bool { return c.s.valid(c.n.id) }

// int is an argument that is a C int.
func (c *call) int(i int) int { return int(int32(c.arg[i])) }

// id is an argument that is a user or group id; none stands for -1.
func (c *call) id(i int) uint32 {
	if c.ids16 {
		return widen(uint32(c.arg[i]))
	}
	return uint32(c.arg[i])
}

// shown is an id as a result.
func (c *call) shown(id uint32) answer {
	if c.ids16 {
		id = uint32(narrow(id))
	}
	return ok(int64(id))
}

// none is the id that means "leave it".
const none = ^uint32(0)

// answer is what becomes of a call.
type answer struct {
	val   int64
	errno unix.Errno
	pass  bool // the kernel carries it out
	sent  bool // it is answered already
}

var pass = answer{pass: true}

func ok(val int64) answer          { return answer{val: val} }
func fail(errno unix.Errno) answer { return answer{errno: errno} }

// done is the answer to a call that was carried out with err.
func done(err error) answer {
	if err == nil {
		return ok(0)
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return fail(errno)
	}
	return fail(unix.EIO)
}
