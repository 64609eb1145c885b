//go:build amd64 || arm64 || ppc64le || riscv64 || s390x

package fakeroot

import "golang.org/x/sys/unix"

// nativeCalls are the calls that every 64-bit architecture has, the most frequent ones first.
func nativeCalls() []trap {
	list := []trap{
		{nr: unix.SYS_NEWFSTATAT, name: "newfstatat", handle: (*call).status, args: statAt},
		{nr: unix.SYS_FSTAT, name: "fstat", handle: (*call).status, args: fstat},
		{nr: unix.SYS_STATX, name: "statx", handle: (*call).statx, args: statxAt},
		{nr: unix.SYS_OPENAT, name: "openat", handle: (*call).create, args: openAt, when: creates(2)},
		{nr: unix.SYS_FACCESSAT, name: "faccessat", handle: (*call).access, args: accessAt},
		{nr: unix.SYS_EXECVE, name: "execve", handle: (*call).exec, args: execOf},
		{nr: unix.SYS_EXECVEAT, name: "execveat", handle: (*call).exec, args: execAt},
		{nr: unix.SYS_EXIT_GROUP, name: "exit_group", handle: (*call).exit, args: asIs},

		{nr: unix.SYS_GETUID, name: "getuid", handle: (*call).getuid},
		{nr: unix.SYS_GETEUID, name: "geteuid", handle: (*call).geteuid},
		{nr: unix.SYS_GETGID, name: "getgid", handle: (*call).getgid},
		{nr: unix.SYS_GETEGID, name: "getegid", handle: (*call).getegid},
		{nr: unix.SYS_GETRESUID, name: "getresuid", handle: (*call).getresuid, args: asIs},
		{nr: unix.SYS_GETRESGID, name: "getresgid", handle: (*call).getresgid, args: asIs},
		{nr: unix.SYS_GETGROUPS, name: "getgroups", handle: (*call).getgroups, args: asIs},
		{nr: unix.SYS_SETUID, name: "setuid", handle: (*call).setuid, args: asIs},
		{nr: unix.SYS_SETGID, name: "setgid", handle: (*call).setgid, args: asIs},
		{nr: unix.SYS_SETREUID, name: "setreuid", handle: (*call).setreuid, args: asIs},
		{nr: unix.SYS_SETREGID, name: "setregid", handle: (*call).setregid, args: asIs},
		{nr: unix.SYS_SETRESUID, name: "setresuid", handle: (*call).setresuid, args: asIs},
		{nr: unix.SYS_SETRESGID, name: "setresgid", handle: (*call).setresgid, args: asIs},
		{nr: unix.SYS_SETFSUID, name: "setfsuid", handle: (*call).setfsuid, args: asIs},
		{nr: unix.SYS_SETFSGID, name: "setfsgid", handle: (*call).setfsgid, args: asIs},
		{nr: unix.SYS_SETGROUPS, name: "setgroups", handle: (*call).setgroups, args: asIs},
		{nr: unix.SYS_CAPGET, name: "capget", handle: (*call).capget, args: asIs},
		{nr: unix.SYS_CAPSET, name: "capset", handle: (*call).capset, args: asIs},
		{nr: unix.SYS_PRCTL, name: "prctl", handle: (*call).prctl, args: asIs, when: prctls},

		{nr: unix.SYS_FCHOWNAT, name: "fchownat", handle: (*call).chown, args: chownAt},
		{nr: unix.SYS_FCHOWN, name: "fchown", handle: (*call).chown, args: fchown},
		{nr: unix.SYS_FCHMODAT, name: "fchmodat", handle: (*call).chmod, args: chmodAt},
		{nr: unix.SYS_FCHMOD, name: "fchmod", handle: (*call).chmod, args: fchmod},
		{nr: unix.SYS_MKNODAT, name: "mknodat", handle: (*call).mknod, args: mknodAt},
		{nr: unix.SYS_MKDIRAT, name: "mkdirat", handle: (*call).mkdir, args: mkdirAt},
		{nr: unix.SYS_SYMLINKAT, name: "symlinkat", handle: (*call).symlink, args: symlinkAt},

		{nr: unix.SYS_SETXATTR, name: "setxattr", handle: (*call).setxattr, args: setxattr},
		{nr: unix.SYS_LSETXATTR, name: "lsetxattr", handle: (*call).setxattr, args: lsetxattr},
		{nr: unix.SYS_FSETXATTR, name: "fsetxattr", handle: (*call).setxattr, args: fsetxattr},
		{nr: unix.SYS_GETXATTR, name: "getxattr", handle: (*call).getxattr, args: getxattr},
		{nr: unix.SYS_LGETXATTR, name: "lgetxattr", handle: (*call).getxattr, args: lgetxattr},
		{nr: unix.SYS_FGETXATTR, name: "fgetxattr", handle: (*call).getxattr, args: fgetxattr},
		{nr: unix.SYS_LISTXATTR, name: "listxattr", handle: (*call).listxattr, args: listxattr},
		{nr: unix.SYS_LLISTXATTR, name: "llistxattr", handle: (*call).listxattr, args: llistxattr},
		{nr: unix.SYS_FLISTXATTR, name: "flistxattr", handle: (*call).listxattr, args: flistxattr},
		{nr: unix.SYS_REMOVEXATTR, name: "removexattr", handle: (*call).removexattr, args: removexattr},
		{nr: unix.SYS_LREMOVEXATTR, name: "lremovexattr", handle: (*call).removexattr, args: lremovexattr},
		{nr: unix.SYS_FREMOVEXATTR, name: "fremovexattr", handle: (*call).removexattr, args: fremovexattr},

		{nr: unix.SYS_UMASK, name: "umask", handle: (*call).umask, args: asIs, when: shutsOut},
		{nr: unix.SYS_CHROOT, name: "chroot", handle: (*call).chroot, args: asIs},
		{nr: unix.SYS_PIVOT_ROOT, name: "pivot_root", handle: (*call).newRoot},
		{nr: unix.SYS_SETNS, name: "setns", handle: (*call).newRoot},
		{nr: unix.SYS_UNSHARE, name: "unshare", handle: (*call).newRoot},
	}
	return append(list, newCalls()...)
}

// nativeStat makes the kernel's struct stat of this architecture.
func nativeStat(st *unix.Statx_t) []byte {
	var s unix.Stat_t
	assign(&s.Dev, unix.Mkdev(st.Dev_major, st.Dev_minor))
	assign(&s.Ino, st.Ino)
	assign(&s.Nlink, st.Nlink)
	assign(&s.Mode, st.Mode)
	assign(&s.Uid, st.Uid)
	assign(&s.Gid, st.Gid)
	assign(&s.Rdev, unix.Mkdev(st.Rdev_major, st.Rdev_minor))
	assign(&s.Size, st.Size)
	assign(&s.Blksize, st.Blksize)
	assign(&s.Blocks, st.Blocks)
	s.Atim = unix.Timespec{Sec: st.Atime.Sec, Nsec: int64(st.Atime.Nsec)}
	s.Mtim = unix.Timespec{Sec: st.Mtime.Sec, Nsec: int64(st.Mtime.Nsec)}
	s.Ctim = unix.Timespec{Sec: st.Ctime.Sec, Nsec: int64(st.Ctime.Nsec)}
	return bytesOf(&s)
}
