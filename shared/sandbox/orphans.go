package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Reaper makes this process the parent of what its steps leave behind, where no
// pid namespace ends it with the step. There is one for the process, and every
// step is made through it, those with a pid namespace too: a step that it does
// not know would look like something that another left behind.
//
// Each step is a session of its own, and a process can leave its session but
// never enter the builder's: so a child of the builder that is in another
// session is a step's, never one of the builder's own helpers. Helpers must not
// be started as sessions of their own.
type Reaper struct {
	mu sync.Mutex // held while a step's process is made, and while one is looked for
	// running are the steps, by the pid of the first process, with their roots.
	running map[int]fileID
}

// fileID names a file for as long as it exists.
type fileID struct{ dev, ino uint64 }

// killPatience is how long killed processes may take to die: one that hangs in
// the kernel must not hang the build.
const killPatience = time.Minute

// BecomeReaper makes this process adopt orphaned descendants
// (PR_SET_CHILD_SUBREAPER).
func BecomeReaper() (*Reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the reaper of orphaned processes: %w", err)
	}
	return &Reaper{running: map[int]fileID{}}, nil
}

// fork makes a step's first process, known from its first moment.
func (r *Reaper) fork(pr *program, flags uintptr, root int) (*child, error) {
	id, err := statFD(root)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := pr.fork(flags)
	if err != nil {
		return nil, err
	}
	if err := c.started(); err != nil { // it is reaped
		return nil, err
	}
	r.running[c.pid] = id
	return c, nil
}

// end kills what is left of the step whose first process, first, is a zombie,
// until there is nothing. It reaps what it finds dead, but for first itself.
func (r *Reaper) end(first int) error {
	deadline := time.Now().Add(killPatience)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		left, err := r.kill(first)
		if left == 0 || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("end what process %d left behind: %d processes do not die", first, left)
		}
		time.Sleep(pause)
	}
}

// reap waits for a step's first process, which is a zombie. The lock keeps
// others from taking it for an orphan when it is no longer known.
func (r *Reaper) reap(first int, wait func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer delete(r.running, first)
	return wait()
}

// kill looks once and tells how many were alive.
func (r *Reaper) kill(first int) (alive int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, err := processes()
	if err != nil {
		return 0, err
	}
	self := os.Getpid()
	for _, p := range r.leftBy(first, all, self) {
		if !p.zombie {
			alive++
			_ = unix.Kill(p.pid, unix.SIGKILL) // ESRCH: it was faster
			continue
		}
		if p.parent == self {
			_, _ = retry(func() (int, error) { return unix.Wait4(p.pid, nil, unix.WNOHANG, nil) })
		}
	}
	return alive, nil
}

// leftBy picks the processes of a step, without its first: those of its session,
// those that the builder adopted from it, and the descendants of either.
func (r *Reaper) leftBy(first int, all []process, self int) []process {
	session, _ := unix.Getsid(0)
	known := map[int]bool{first: true}
	var found []process
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if _, other := r.running[p.pid]; other || known[p.pid] {
				continue
			}
			adopted := p.parent == self && p.session != session
			if known[p.parent] || p.session == first || adopted && r.belongs(p, first) {
				known[p.pid], grown = true, true
				found = append(found, p)
			}
		}
	}
	return found
}

// belongs tells whether an adopted process is of the step first, by its root. One
// that does not show its root (another user's, without CAP_SYS_PTRACE) or has a
// further one counts as the last running step's.
func (r *Reaper) belongs(p process, first int) bool {
	if p.zombie {
		return true // whoever comes first reaps it
	}
	if _, other := r.running[p.session]; other {
		return false
	}
	var st unix.Stat_t
	if unix.Stat("/proc/"+strconv.Itoa(p.pid)+"/root", &st) == nil {
		id := fileID{uint64(st.Dev), st.Ino}
		at, others := false, false
		for pid, root := range r.running {
			at = at || root == id && pid == first
			others = others || root == id && pid != first
		}
		if at || others {
			return at && !others // the last of those who share a root
		}
	}
	return len(r.running) == 1
}

func statFD(fd int) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fileID{}, fmt.Errorf("stat a root: %w", err)
	}
	return fileID{uint64(st.Dev), st.Ino}, nil
}

// process is what /proc/PID/stat tells, as far as it matters here.
type process struct {
	pid, parent, session int
	zombie               bool
}

// processes lists all that the builder can see.
func processes() ([]process, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var list []process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		p, err := readProcess(pid)
		if err != nil {
			return nil, err
		}
		if p.pid != 0 {
			list = append(list, p)
		}
	}
	return list, nil
}

// readProcess returns no pid for a process that is gone.
func readProcess(pid int) (process, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return process{}, nil
	}
	if err != nil {
		return process{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	// pid (name) state ppid pgrp session: the name may hold anything, ")" too.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 4 {
		return process{}, fmt.Errorf("look at process %d: stat is %q", pid, b)
	}
	parent, err1 := strconv.Atoi(string(fields[1]))
	session, err2 := strconv.Atoi(string(fields[3]))
	if err := errors.Join(err1, err2); err != nil {
		return process{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return process{pid: pid, parent: parent, session: session, zombie: fields[0][0] == 'Z' || fields[0][0] == 'X'}, nil
}
