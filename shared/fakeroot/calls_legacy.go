//go:build amd64 || ppc64le || s390x

package fakeroot

import "golang.org/x/sys/unix"

// legacyCalls are those that architectures since arm64 have no more.
func legacyCalls() []trap {
	return []trap{
		{nr: unix.SYS_STAT, name: "stat", handle: (*call).status, args: statOf},
		{nr: unix.SYS_LSTAT, name: "lstat", handle: (*call).status, args: lstat},
		{nr: unix.SYS_OPEN, name: "open", handle: (*call).create, args: openOf, when: creates(1)},
		{nr: unix.SYS_CREAT, name: "creat", handle: (*call).create, args: creatOf},
		{nr: unix.SYS_ACCESS, name: "access", handle: (*call).access, args: accessOf},
		{nr: unix.SYS_CHOWN, name: "chown", handle: (*call).chown, args: chownOf},
		{nr: unix.SYS_LCHOWN, name: "lchown", handle: (*call).chown, args: lchown},
		{nr: unix.SYS_CHMOD, name: "chmod", handle: (*call).chmod, args: chmodOf},
		{nr: unix.SYS_MKNOD, name: "mknod", handle: (*call).mknod, args: mknodOf},
		{nr: unix.SYS_MKDIR, name: "mkdir", handle: (*call).mkdir, args: mkdirOf},
		{nr: unix.SYS_SYMLINK, name: "symlink", handle: (*call).symlink, args: symlinkOf},
	}
}
