//go:build amd64

package fakeroot

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// i386Calls are the calls of 32-bit programs on an amd64 kernel: arch/x86/entry/syscalls/syscall_32.tbl. Left out are oldstat
// and its like, which no program of this century makes.
func i386Calls() []trap {
	list := append(i386Files(), i386IDs()...)
	for i := range list {
		if list[i].stat == nil {
			list[i].stat = i386Stat64
		}
	}
	return append(list, newCalls()...)
}

func i386Files() []trap {
	return []trap{
		{nr: 195, name: "stat64", handle: (*call).status, args: statOf},
		{nr: 196, name: "lstat64", handle: (*call).status, args: lstat},
		{nr: 197, name: "fstat64", handle: (*call).status, args: fstat},
		{nr: 300, name: "fstatat64", handle: (*call).status, args: statAt},
		{nr: 383, name: "statx", handle: (*call).statx, args: statxAt},
		{nr: 106, name: "stat", handle: (*call).status, args: statOf, stat: i386Stat},
		{nr: 107, name: "lstat", handle: (*call).status, args: lstat, stat: i386Stat},
		{nr: 108, name: "fstat", handle: (*call).status, args: fstat, stat: i386Stat},
		{nr: 5, name: "open", handle: (*call).create, args: openOf, when: creates(1)},
		{nr: 8, name: "creat", handle: (*call).create, args: creatOf},
		{nr: 295, name: "openat", handle: (*call).create, args: openAt, when: creates(2)},
		{nr: 33, name: "access", handle: (*call).access, args: accessOf},
		{nr: 307, name: "faccessat", handle: (*call).access, args: accessAt},
		{nr: 11, name: "execve", handle: (*call).exec, args: execOf},
		{nr: 358, name: "execveat", handle: (*call).exec, args: execAt},
		{nr: 252, name: "exit_group", handle: (*call).exit},

		{nr: 182, name: "chown", handle: (*call).chown, args: chownOf, ids16: true},
		{nr: 16, name: "lchown", handle: (*call).chown, args: lchown, ids16: true},
		{nr: 95, name: "fchown", handle: (*call).chown, args: fchown, ids16: true},
		{nr: 212, name: "chown32", handle: (*call).chown, args: chownOf},
		{nr: 198, name: "lchown32", handle: (*call).chown, args: lchown},
		{nr: 207, name: "fchown32", handle: (*call).chown, args: fchown},
		{nr: 298, name: "fchownat", handle: (*call).chown, args: chownAt},
		{nr: 15, name: "chmod", handle: (*call).chmod, args: chmodOf},
		{nr: 94, name: "fchmod", handle: (*call).chmod, args: fchmod},
		{nr: 306, name: "fchmodat", handle: (*call).chmod, args: chmodAt},
		{nr: 14, name: "mknod", handle: (*call).mknod, args: mknodOf},
		{nr: 297, name: "mknodat", handle: (*call).mknod, args: mknodAt},
		{nr: 39, name: "mkdir", handle: (*call).mkdir, args: mkdirOf},
		{nr: 296, name: "mkdirat", handle: (*call).mkdir, args: mkdirAt},
		{nr: 83, name: "symlink", handle: (*call).symlink, args: symlinkOf},
		{nr: 304, name: "symlinkat", handle: (*call).symlink, args: symlinkAt},

		{nr: 226, name: "setxattr", handle: (*call).setxattr, args: setxattr},
		{nr: 227, name: "lsetxattr", handle: (*call).setxattr, args: lsetxattr},
		{nr: 228, name: "fsetxattr", handle: (*call).setxattr, args: fsetxattr},
		{nr: 229, name: "getxattr", handle: (*call).getxattr, args: getxattr},
		{nr: 230, name: "lgetxattr", handle: (*call).getxattr, args: lgetxattr},
		{nr: 231, name: "fgetxattr", handle: (*call).getxattr, args: fgetxattr},
		{nr: 232, name: "listxattr", handle: (*call).listxattr, args: listxattr},
		{nr: 233, name: "llistxattr", handle: (*call).listxattr, args: llistxattr},
		{nr: 234, name: "flistxattr", handle: (*call).listxattr, args: flistxattr},
		{nr: 235, name: "removexattr", handle: (*call).removexattr, args: removexattr},
		{nr: 236, name: "lremovexattr", handle: (*call).removexattr, args: lremovexattr},
		{nr: 237, name: "fremovexattr", handle: (*call).removexattr, args: fremovexattr},

		{nr: 60, name: "umask", handle: (*call).umask, when: shutsOut},
		{nr: 61, name: "chroot", handle: (*call).chroot, args: asIs},
		{nr: 217, name: "pivot_root", handle: (*call).newRoot},
		{nr: 346, name: "setns", handle: (*call).newRoot},
		{nr: 310, name: "unshare", handle: (*call).newRoot},
	}
}

func i386IDs() []trap {
	return []trap{
		{nr: 199, name: "getuid32", handle: (*call).getuid},
		{nr: 201, name: "geteuid32", handle: (*call).geteuid},
		{nr: 200, name: "getgid32", handle: (*call).getgid},
		{nr: 202, name: "getegid32", handle: (*call).getegid},
		{nr: 209, name: "getresuid32", handle: (*call).getresuid, args: asIs},
		{nr: 211, name: "getresgid32", handle: (*call).getresgid, args: asIs},
		{nr: 205, name: "getgroups32", handle: (*call).getgroups, args: asIs},
		{nr: 213, name: "setuid32", handle: (*call).setuid, args: asIs},
		{nr: 214, name: "setgid32", handle: (*call).setgid, args: asIs},
		{nr: 203, name: "setreuid32", handle: (*call).setreuid, args: asIs},
		{nr: 204, name: "setregid32", handle: (*call).setregid, args: asIs},
		{nr: 208, name: "setresuid32", handle: (*call).setresuid, args: asIs},
		{nr: 210, name: "setresgid32", handle: (*call).setresgid, args: asIs},
		{nr: 215, name: "setfsuid32", handle: (*call).setfsuid, args: asIs},
		{nr: 216, name: "setfsgid32", handle: (*call).setfsgid, args: asIs},
		{nr: 206, name: "setgroups32", handle: (*call).setgroups, args: asIs},

		{nr: 24, name: "getuid", handle: (*call).getuid, ids16: true},
		{nr: 49, name: "geteuid", handle: (*call).geteuid, ids16: true},
		{nr: 47, name: "getgid", handle: (*call).getgid, ids16: true},
		{nr: 50, name: "getegid", handle: (*call).getegid, ids16: true},
		{nr: 165, name: "getresuid", handle: (*call).getresuid, args: asIs, ids16: true},
		{nr: 171, name: "getresgid", handle: (*call).getresgid, args: asIs, ids16: true},
		{nr: 80, name: "getgroups", handle: (*call).getgroups, args: asIs, ids16: true},
		{nr: 23, name: "setuid", handle: (*call).setuid, args: asIs, ids16: true},
		{nr: 46, name: "setgid", handle: (*call).setgid, args: asIs, ids16: true},
		{nr: 70, name: "setreuid", handle: (*call).setreuid, args: asIs, ids16: true},
		{nr: 71, name: "setregid", handle: (*call).setregid, args: asIs, ids16: true},
		{nr: 164, name: "setresuid", handle: (*call).setresuid, args: asIs, ids16: true},
		{nr: 170, name: "setresgid", handle: (*call).setresgid, args: asIs, ids16: true},
		{nr: 138, name: "setfsuid", handle: (*call).setfsuid, args: asIs, ids16: true},
		{nr: 139, name: "setfsgid", handle: (*call).setfsgid, args: asIs, ids16: true},
		{nr: 81, name: "setgroups", handle: (*call).setgroups, args: asIs, ids16: true},

		{nr: 184, name: "capget", handle: (*call).capget, args: asIs},
		{nr: 185, name: "capset", handle: (*call).capset, args: asIs},
		{nr: 172, name: "prctl", handle: (*call).prctl, args: asIs, when: prctls},
	}
}

// i386Stat64 makes struct stat64. It is packed: 64-bit fields need no more than 4 bytes' alignment there.
func i386Stat64(st *unix.Statx_t) []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, 96)
	b = le.AppendUint64(b, unix.Mkdev(st.Dev_major, st.Dev_minor))
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, uint32(st.Ino))
	b = le.AppendUint32(b, uint32(st.Mode))
	b = le.AppendUint32(b, st.Nlink)
	b = le.AppendUint32(b, st.Uid)
	b = le.AppendUint32(b, st.Gid)
	b = le.AppendUint64(b, unix.Mkdev(st.Rdev_major, st.Rdev_minor))
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, st.Size)
	b = le.AppendUint32(b, st.Blksize)
	b = le.AppendUint64(b, st.Blocks)
	b = appendTimes32(b, st)
	return le.AppendUint64(b, st.Ino)
}

// i386Stat makes struct stat; nil if a value does not fit (EOVERFLOW).
func i386Stat(st *unix.Statx_t) []byte {
	const most = 1<<31 - 1
	if st.Ino > 2*most+1 || st.Nlink > 0xffff || st.Size > most {
		return nil
	}
	le := binary.LittleEndian
	b := make([]byte, 0, 64)
	b = le.AppendUint32(b, uint32(unix.Mkdev(st.Dev_major, st.Dev_minor)))
	b = le.AppendUint32(b, uint32(st.Ino))
	b = le.AppendUint16(b, st.Mode)
	b = le.AppendUint16(b, uint16(st.Nlink))
	b = le.AppendUint16(b, narrow(st.Uid))
	b = le.AppendUint16(b, narrow(st.Gid))
	b = le.AppendUint32(b, uint32(unix.Mkdev(st.Rdev_major, st.Rdev_minor)))
	b = le.AppendUint32(b, uint32(st.Size))
	b = le.AppendUint32(b, st.Blksize)
	b = le.AppendUint32(b, uint32(st.Blocks))
	b = appendTimes32(b, st)
	return le.AppendUint64(b, 0)
}

func appendTimes32(b []byte, st *unix.Statx_t) []byte {
	for _, t := range []unix.StatxTimestamp{st.Atime, st.Mtime, st.Ctime} {
		b = binary.LittleEndian.AppendUint32(b, uint32(t.Sec))
		b = binary.LittleEndian.AppendUint32(b, t.Nsec)
	}
	return b
}
