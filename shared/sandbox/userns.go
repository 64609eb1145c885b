package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// insideVariable marks the environment of a process that EnterUserNamespace
// started.
const insideVariable = "STRAKE_USER_NAMESPACE"

// IDs tells how many ids a user namespace has.
type IDs int

// The kinds of maps there are.
const (
	OneID   IDs = iota + 1 // root is the user, and nobody else is there: enough for builds that RUN nothing as another user
	ManyIDs                // root is the user, with his subordinate ids after it
	SameIDs                // all ids of the namespace around it, for a root that may map them
)

// String says it in a word or two.
func (i IDs) String() string {
	return [...]string{"", "one id", "subordinate ids", "the same ids"}[i]
}

// Namespace is a user namespace that this process could enter.
type Namespace struct {
	IDs IDs
	// Why, if IDs is OneID, there are not more.
	Why error

	uids, gids []idRange
}

// InUserNamespace tells whether this process is one that Namespace.Enter started.
// The variable that says so is not to be handed on.
func InUserNamespace(env []string) bool {
	return slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, insideVariable+"=") })
}

// NeedsUserNamespace tells whether the overlay view wants one here: the process
// has no CAP_SYS_ADMIN.
func NeedsUserNamespace() bool {
	permitted, _, err := ownCaps()
	return err == nil && !permitted.has(unix.CAP_SYS_ADMIN)
}

// PlanUserNamespace works out which ids a new user namespace would have. The
// caller decides whether that is enough, and calls Enter.
func PlanUserNamespace() (Namespace, error) {
	permitted, _, err := ownCaps()
	if err != nil {
		return Namespace{}, err
	}
	if permitted.has(unix.CAP_SETUID) && permitted.has(unix.CAP_SETGID) {
		return planSame()
	}
	uid, gid := os.Geteuid(), os.Getegid()
	n := OwnID(nil)
	name := ""
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		name = u.Username
	}
	subuids, err1 := subordinateFile("/etc/subuid", name, uid)
	subgids, err2 := subordinateFile("/etc/subgid", name, uid)
	if err := errors.Join(err1, err2); err != nil {
		return Namespace{}, err
	}
	if len(subuids) == 0 || len(subgids) == 0 {
		n.Why = fmt.Errorf("user %d has no ids in /etc/subuid and /etc/subgid", uid)
		return n, nil
	}
	for _, program := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(program); err != nil {
			n.Why = fmt.Errorf("%s is not installed (package uidmap or shadow-utils)", program)
			return n, nil
		}
	}
	return Namespace{IDs: ManyIDs, uids: rootless(uid, subuids), gids: rootless(gid, subgids)}, nil
}

// OwnID is a namespace in which root is the user and nobody else is there; why
// says what keeps it from having more ids.
func OwnID(why error) Namespace {
	return Namespace{IDs: OneID, Why: why, uids: rootless(os.Geteuid(), nil), gids: rootless(os.Getegid(), nil)}
}

func planSame() (Namespace, error) {
	uids, err1 := readMap("/proc/self/uid_map")
	gids, err2 := readMap("/proc/self/gid_map")
	return Namespace{IDs: SameIDs, uids: sameIDs(uids), gids: sameIDs(gids)}, errors.Join(err1, err2)
}

// forwarded are the signals that are handed to the process inside. It is a
// process group of its own, so that a terminal's ^C reaches it once.
var forwarded = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2}

// Enter executes this binary again with args (args[0] included) and env in a new
// user and mount namespace, hands on signals, and returns the exit code when it
// has ended: 128 and the signal where a signal ended it. An error says that it
// did not begin, and that nothing was done.
func (n *Namespace) Enter(ctx context.Context, args, env []string) (int, error) {
	return onThread(func() (int, error) { // PDEATHSIG is about the thread
		gate := [2]int{}
		if err := unix.Pipe2(gate[:], unix.O_CLOEXEC); err != nil {
			return 0, fmt.Errorf("make a pipe: %w", err)
		}
		defer unix.Close(gate[0])
		c, err := reexecution(args, env, gate).fork(unix.CLONE_NEWUSER | unix.CLONE_NEWNS)
		if err != nil {
			unix.Close(gate[1])
			return 0, fmt.Errorf("make a user namespace: %w", err)
		}
		err = n.writeMaps(ctx, c.pid)
		if err == nil {
			_, err = unix.Write(gate[1], []byte{'g'})
		}
		unix.Close(gate[1]) // without a word the child gives up
		if startErr := c.started(); err != nil || startErr != nil {
			return 0, fmt.Errorf("enter a user namespace: %w", errors.Join(err, startErr))
		}
		return relay(c.pid)
	})
}

// reexecution is the child's part: it must execute its program after its ids are
// mapped, because exec takes the capabilities from one who is nobody.
func reexecution(args, env []string, gate [2]int) *program {
	pr := &program{name: args[0]}
	word := new([1]byte)
	at := hold(pr, word)
	pr.add("die with the parent", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	pr.add("make a process group", unix.SYS_SETPGID, 0, 0)
	pr.add("close a pipe", unix.SYS_CLOSE, uintptr(gate[1]))
	c := pr.add("wait for the ids", unix.SYS_READ, uintptr(gate[0]), at, unsafe.Sizeof(*word))
	c.check, c.want = &word[0], 'g'
	pr.paths = []uintptr{pr.str("/proc/self/exe")}
	pr.argv, pr.envp = pr.strs(args), pr.strs(append(slices.Clone(env), insideVariable+"=1"))
	return pr
}

// writeMaps gives the namespace of process pid its ids.
func (n *Namespace) writeMaps(ctx context.Context, pid int) error {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	switch n.IDs {
	case ManyIDs:
		return errors.Join(runMapper(ctx, "newuidmap", pid, n.uids), runMapper(ctx, "newgidmap", pid, n.gids))
	case OneID: // without privilege gid_map wants that first
		if err := os.WriteFile(dir+"setgroups", []byte("deny"), 0); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(dir+"uid_map", []byte(text(n.uids)), 0),
		os.WriteFile(dir+"gid_map", []byte(text(n.gids)), 0))
}

func runMapper(ctx context.Context, program string, pid int, ranges []idRange) error {
	args := append([]string{strconv.Itoa(pid)}, words(ranges)...)
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s %s: %w: %s (it must be setuid root or have file capabilities, and no_new_privs must be off)",
			program, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// relay waits for the process inside.
func relay(pid int) (int, error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded...)
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case s := <-signals:
				_ = unix.Kill(pid, s.(syscall.Signal))
			case <-done:
				return
			}
		}
	}()
	w := waiter{pid: pid}
	err := w.ended() // not reaped: the pid is its own until no signal is sent any more
	signal.Stop(signals)
	close(done)
	<-stopped
	var status unix.WaitStatus
	if _, err2 := retry(func() (int, error) { return unix.Wait4(pid, &status, 0, nil) }); err2 != nil {
		return 0, errors.Join(err, err2)
	}
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}
