package fakeroot

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// thread is one thread of a process: like the kernel, we keep who it is for each by itself.
type thread struct {
	tid, tgid int
	inner     int    // tgid as the innermost pid namespace has it
	start     uint64 // when it began: ids come round again
	pgrp, sid int
	cred      *cred // never changed, only replaced: threads share it
	root      rootView
}

// state is what /proc tells about a thread.
type state struct {
	tgid, ppid, inner int
	pgrp, sid         int
	start             uint64
}

// thread finds the thread tid; one that is new inherits from the thread group's leader or from its parent.
func (v *service) thread(tid int) (*thread, error) {
	return v.threadWithin(tid, maxAncestors)
}

// maxAncestors bounds how far up a new process looks for one that is known.
const maxAncestors = 4096

func (v *service) threadWithin(tid, depth int) (*thread, error) {
	if t := v.threads[tid]; t != nil {
		return t, nil
	}
	st, err := v.look(tid)
	if err != nil {
		return nil, err
	}
	t := &thread{tid: tid, tgid: st.tgid, inner: st.inner, start: st.start, pgrp: st.pgrp, sid: st.sid, cred: v.first}
	if st.tgid == v.pid { // the builder's own thread, which is not to be kept
		return t, nil
	}
	t.cred = v.inherited(t, st.ppid, depth)
	v.threads[tid] = t
	return t, nil
}

// inherited is the identity of a new thread. A process whose parent is gone takes after its session or its
// process group, as far as they are known.
func (v *service) inherited(t *thread, ppid, depth int) *cred {
	if depth == 0 {
		return v.first
	}
	if t.tid != t.tgid {
		if leader, err := v.threadWithin(t.tgid, depth-1); err == nil {
			return leader.cred
		}
	}
	if ppid != 0 && ppid != v.pid && ppid != 1 {
		if parent, err := v.threadWithin(ppid, depth-1); err == nil {
			return v.maker(parent, t.tgid).cred
		}
	}
	if !v.started {
		v.started = true
		return v.first
	}
	for _, id := range []int{t.pgrp, t.sid, ppid} {
		if other := v.threads[id]; other != nil {
			return other.cred
		}
	}
	return v.first
}

// maker is the thread of a process that made pid. It matters only where threads of one process are different users.
func (v *service) maker(parent *thread, pid int) *thread {
	if !v.divided {
		return parent
	}
	for _, t := range v.threads {
		if t.tgid == parent.tgid && t.cred != parent.cred && slices.Contains(v.children(t.tgid, t.tid), pid) {
			return t
		}
	}
	return parent
}

// look reads what /proc tells about a thread.
func (v *service) look(tid int) (state, error) {
	var st state
	dir := "/proc/" + strconv.Itoa(tid)
	b, err := v.readFile(dir + "/status")
	if err != nil {
		return st, err
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		switch name {
		case "Tgid":
			st.tgid, _ = strconv.Atoi(fields[0])
		case "PPid":
			st.ppid, _ = strconv.Atoi(fields[0])
		case "NStgid":
			st.inner, _ = strconv.Atoi(fields[len(fields)-1])
		}
	}
	if st.tgid == 0 {
		return st, fmt.Errorf("look at thread %d: no thread group in its status", tid)
	}
	err = v.lookStat(dir, &st)
	return st, err
}

// lookStat reads the fields of /proc/PID/stat: see proc_pid_stat(5).
func (v *service) lookStat(dir string, st *state) error {
	b, err := v.readFile(dir + "/stat")
	if err != nil {
		return err
	}
	// The name before the last parenthesis may hold anything.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 {
		return fmt.Errorf("read %s/stat: it is %q", dir, b)
	}
	st.pgrp, _ = strconv.Atoi(string(fields[2]))
	st.sid, _ = strconv.Atoi(string(fields[3]))
	st.start, _ = strconv.ParseUint(string(fields[19]), 10, 64)
	return nil
}

// readFile reads a small file of /proc into the service's buffer.
func (v *service) readFile(name string) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, v.buf)
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: name, Err: err}
	}
	return v.buf[:n], nil
}

// sweep drops the threads that are dead.
func (v *service) sweep() {
	for tid, t := range v.threads {
		var st state
		if v.lookStat("/proc/"+strconv.Itoa(tid), &st) != nil || st.start != t.start {
			delete(v.threads, tid)
			continue
		}
		t.pgrp, t.sid = st.pgrp, st.sid
	}
	v.swept = time.Now()
}

// settle gives the descendants and the other threads of a process that is about to change or to end the
// identity that they have inherited, as far as they have not made a call of their own yet.
func (v *service) settle(t *thread) {
	tids, err := os.ReadDir("/proc/" + strconv.Itoa(t.tgid) + "/task")
	if err != nil {
		return
	}
	for _, e := range tids {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if _, err := v.thread(tid); err != nil {
			continue
		}
		for _, child := range v.children(t.tgid, tid) {
			v.settleChild(child)
		}
	}
}

// settleChild makes a process known, and those below it.
func (v *service) settleChild(pid int) {
	if v.threads[pid] != nil {
		return // its descendants ask it
	}
	if t, err := v.thread(pid); err == nil {
		v.settle(t)
	}
}

// children lists the processes that a thread has made. It needs CONFIG_PROC_CHILDREN, as distributions have it.
func (v *service) children(tgid, tid int) []int {
	b, err := v.readFile("/proc/" + strconv.Itoa(tgid) + "/task/" + strconv.Itoa(tid) + "/children")
	if err != nil {
		return nil
	}
	var pids []int
	for f := range bytes.FieldsSeq(b) {
		if pid, err := strconv.Atoi(string(f)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// become replaces the identity of the calling thread.
func (c *call) become(next *cred) {
	c.s.settle(c.t)
	c.t.cred = next
	c.s.divided = c.s.divided || c.t.tid != c.t.tgid
}

// exit is exit_group(2): those that the process leaves behind must be known while it is.
func (c *call) exit() answer {
	c.s.settle(c.t)
	for tid, t := range c.s.threads {
		if t.tgid == c.t.tgid {
			delete(c.s.threads, tid)
		}
	}
	return pass
}
