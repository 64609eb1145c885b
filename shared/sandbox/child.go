package sandbox

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// defaultPath is searched when the environment has no PATH, as runc does.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// finish appends what every child does once "/" is its root: descriptors,
// limits, directory, identity, exec. out and err become its standard output and
// error. Without Args the child ends there (Probe asks for that).
func (p *program) finish(proc *Process, id Identity, out, err int) error {
	p.add("make a session", unix.SYS_SETSID)
	null := p.str("/dev/null")
	p.add("close standard input", unix.SYS_CLOSE, 0)
	// The lowest free descriptor is taken: 0. A missing /dev/null must be an
	// error of ours: apt-get update succeeds without one, unverified.
	p.add("open /dev/null", unix.SYS_OPENAT, at(unix.AT_FDCWD), null, unix.O_RDONLY)
	p.add("set standard output", unix.SYS_DUP3, uintptr(out), 1, 0)
	p.add("set standard error", unix.SYS_DUP3, uintptr(err), 2, 0)
	// Before the directory is changed, so that no descriptor of ours can be
	// the way to one (CVE-2024-21626).
	p.markDescriptors()
	if err := p.limits(proc.Rlimits); err != nil {
		return err
	}
	p.add("set the file mode mask", unix.SYS_UMASK, 0o22)
	// Still as root, as runc does it first: it may be closed to the user.
	p.chdir(proc.Cwd)
	if err := id.become(p, proc); err != nil {
		return err
	}
	// Last: a change of ids clears it.
	p.add("die with the builder", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	if len(proc.Args) > 0 {
		p.exec(proc.Args, proc.Env)
	}
	return nil
}

// at is a negative descriptor as a system call takes it.
func at(fd int) uintptr { return uintptr(fd) }

// chdir goes to dir and checks that it is below the root: the kernel writes
// "(unreachable)" before the name of a directory that is not.
func (p *program) chdir(dir string) {
	if dir == "" {
		dir = "/"
	}
	what := "change to working directory " + dir
	p.add(what, unix.SYS_CHDIR, p.str(dir))
	name := make([]byte, unix.PathMax)
	p.keep = append(p.keep, name)
	c := p.add(what+": find it in the root", unix.SYS_GETCWD, uintptr(unsafe.Pointer(&name[0])), uintptr(len(name)))
	c.check, c.want = &name[0], '/'
}

// exec prepares execve for each place where the program may be.
func (p *program) exec(args, env []string) {
	p.name = args[0]
	p.argv, p.envp = p.strs(args), p.strs(env)
	if strings.Contains(args[0], "/") {
		p.paths = []uintptr{p.str(args[0])}
		return
	}
	dirs := defaultPath
	for _, e := range slices.Backward(env) {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			dirs = v
			break
		}
	}
	for dir := range strings.SplitSeq(dirs, ":") {
		if path.IsAbs(dir) { // relative ones are refused by runc too
			p.paths = append(p.paths, p.str(path.Join(dir, args[0])))
		}
	}
	if len(p.paths) == 0 {
		p.paths = []uintptr{p.str("/" + args[0] + "/")} // nowhere to look: ENOENT or ENOTDIR
	}
}

// resources are the names that docker run --ulimit knows.
var resources = map[string]uintptr{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE,
	"locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE,
	"nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
	"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

func (p *program) limits(list []Rlimit) error {
	for _, l := range list {
		nr, ok := resources[strings.ToLower(l.Name)]
		if !ok {
			return fmt.Errorf("resource limit %q: no such limit", l.Name)
		}
		v := hold(p, &[2]uint64{uint64(l.Soft), uint64(l.Hard)}) // -1 is RLIM_INFINITY
		p.add(fmt.Sprintf("limit %s to %d:%d", l.Name, l.Soft, l.Hard), unix.SYS_PRLIMIT64, 0, nr, v, 0)
	}
	return nil
}
