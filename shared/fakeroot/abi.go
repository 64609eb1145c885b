package fakeroot

import "golang.org/x/sys/unix"

// abi is a set of system call numbers and layouts that processes of this kernel can use.
type abi struct {
	audit uint32 // AUDIT_ARCH_*
	limit uint32 // numbers from here on belong to an ABI that is refused; 0 means none
	calls []trap
}

// trap is one system call that is handed over, and who handles it.
type trap struct {
	nr     uint32
	name   string
	handle func(*call) answer
	args   args
	when   condition
	ids16  bool                       // user and group ids have 16 bits
	stat   func(*unix.Statx_t) []byte // struct stat, if it is not nativeStat's
}

// executes tells whether the call executes a program.
func (t *trap) executes() bool { return t.name == "execve" || t.name == "execveat" }

// args says where the arguments of the handler come from.
type args []source

// source is an argument of the system call by its index, or a constant.
type source int8

const (
	arg0 source = iota
	arg1
	arg2
	arg3
	arg4
	arg5
	zero
	cwd       // AT_FDCWD
	nofollow  // AT_SYMLINK_NOFOLLOW
	emptyPath // AT_EMPTY_PATH
	openFile  // AT_EMPTY_PATH, and the descriptor must not be one of O_PATH
	creat     // the flags of creat(2)
	removeDir // AT_REMOVEDIR
)

// mustBeOpen is a flag of ours beside those of the *at calls.
const mustBeOpen = 1 << 40

func (c *call) source(s source) uint64 {
	fdcwd := unix.AT_FDCWD
	switch s {
	case zero:
		return 0
	case cwd:
		return uint64(fdcwd)
	case nofollow:
		return unix.AT_SYMLINK_NOFOLLOW
	case emptyPath:
		return unix.AT_EMPTY_PATH
	case openFile:
		return unix.AT_EMPTY_PATH | mustBeOpen
	case removeDir:
		return unix.AT_REMOVEDIR
	case creat:
		return unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC
	}
	return c.n.args[s]
}

// arguments brings the arguments into the order that the handler expects.
func (e *trap) arguments(c *call) {
	for i, s := range e.args {
		c.arg[i] = c.source(s)
	}
}

func (b *abi) find(nr uint32) *trap {
	for i := range b.calls {
		if b.calls[i].nr == nr {
			return &b.calls[i]
		}
	}
	return nil
}

// The orders of arguments that handlers expect.
var (
	asIs = args{arg0, arg1, arg2, arg3, arg4, arg5}

	// dir, path, buffer, flags
	statAt = asIs
	statOf = args{cwd, arg0, arg1, zero}
	lstat  = args{cwd, arg0, arg1, nofollow}
	fstat  = args{arg0, zero, arg1, emptyPath}
	// dir, path, uid, gid, flags
	chownAt = asIs
	chownOf = args{cwd, arg0, arg1, arg2, zero}
	lchown  = args{cwd, arg0, arg1, arg2, nofollow}
	fchown  = args{arg0, zero, arg1, arg2, openFile}
	// dir, path, mode, flags
	chmodAt = args{arg0, arg1, arg2, zero}
	chmodOf = args{cwd, arg0, arg1, zero}
	fchmod  = args{arg0, zero, arg1, openFile}
	// dir, path, mode, flags
	accessAt = args{arg0, arg1, arg2, zero}
	accessOf = args{cwd, arg0, arg1, zero}
	// dir, path, flags, mode
	openAt  = asIs
	openOf  = args{cwd, arg0, arg1, arg2}
	creatOf = args{cwd, arg0, creat, arg1}
	// dir, path, mode, device
	mknodAt = asIs
	mknodOf = args{cwd, arg0, arg1, arg2}
	mkdirAt = asIs
	mkdirOf = args{cwd, arg0, arg1}
	// target, dir, path
	symlinkAt = asIs
	symlinkOf = args{arg0, cwd, arg1}
	// dir, path, flags, name, value, size, flags of the setting
	setxattr  = args{cwd, arg0, zero, arg1, arg2, arg3, arg4}
	lsetxattr = args{cwd, arg0, nofollow, arg1, arg2, arg3, arg4}
	fsetxattr = args{arg0, zero, openFile, arg1, arg2, arg3, arg4}
	// dir, path, flags, name, buffer, size
	getxattr  = args{cwd, arg0, zero, arg1, arg2, arg3}
	lgetxattr = args{cwd, arg0, nofollow, arg1, arg2, arg3}
	fgetxattr = args{arg0, zero, openFile, arg1, arg2, arg3}
	// dir, path, flags, buffer, size
	listxattr  = args{cwd, arg0, zero, arg1, arg2}
	llistxattr = args{cwd, arg0, nofollow, arg1, arg2}
	flistxattr = args{arg0, zero, openFile, arg1, arg2}
	// dir, path, flags, name
	removexattr  = args{cwd, arg0, zero, arg1}
	lremovexattr = args{cwd, arg0, nofollow, arg1}
	fremovexattr = args{arg0, zero, openFile, arg1}
	// dir, path, flags
	execOf = args{cwd, arg0, zero}
	execAt = args{arg0, arg1, arg4}
	// what statx(2) and the *xattrat calls have in another order
	statxAt = asIs
)

const tmpfileBit = unix.O_TMPFILE &^ unix.O_DIRECTORY

// creates is the condition under which an open may make a file; arg holds the flags.
func creates(arg int) condition { return condition{arg: arg, mask: unix.O_CREAT | tmpfileBit} }

// shutsOut is the condition under which umask(2) takes rights from owners.
var shutsOut = condition{arg: 0, mask: 0o700}

// prctls are the options of prctl(2) that are answered.
var prctls = condition{arg: 0, oneOf: []uint32{
	unix.PR_SET_DUMPABLE, unix.PR_SET_KEEPCAPS, unix.PR_GET_KEEPCAPS, unix.PR_CAPBSET_READ, unix.PR_CAPBSET_DROP,
	unix.PR_CAP_AMBIENT, unix.PR_GET_SECUREBITS, unix.PR_SET_SECUREBITS,
}}

// numbers of calls since Linux 5.1, the same for all architectures
const (
	nrIoUringSetup  = 425
	nrOpenat2       = 437
	nrFaccessat2    = 439
	nrFchmodat2     = 452
	nrSetxattrat    = 463
	nrGetxattrat    = 464
	nrListxattrat   = 465
	nrRemovexattrat = 466
)

// newCalls are those that have one number everywhere.
func newCalls() []trap {
	return []trap{
		{nr: nrOpenat2, name: "openat2", handle: (*call).create2, args: asIs},
		{nr: nrFaccessat2, name: "faccessat2", handle: (*call).access, args: asIs},
		{nr: nrFchmodat2, name: "fchmodat2", handle: (*call).chmod, args: asIs},
		{nr: nrSetxattrat, name: "setxattrat", handle: (*call).setxattrat, args: asIs},
		{nr: nrGetxattrat, name: "getxattrat", handle: (*call).getxattrat, args: asIs},
		{nr: nrListxattrat, name: "listxattrat", handle: (*call).listxattr, args: asIs},
		{nr: nrRemovexattrat, name: "removexattrat", handle: (*call).removexattr, args: asIs},
	}
}
