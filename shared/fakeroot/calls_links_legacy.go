//go:build amd64 || ppc64le || s390x

package fakeroot

import "golang.org/x/sys/unix"

// legacyLinkCalls are those of linkCalls that architectures since arm64 have no more.
func legacyLinkCalls() []trap {
	twoPaths := args{cwd, arg0, cwd, arg1, zero}
	return []trap{
		{nr: unix.SYS_UNLINK, name: "unlink", handle: (*call).unlink, args: args{cwd, arg0, zero}},
		{nr: unix.SYS_RMDIR, name: "rmdir", handle: (*call).unlink, args: args{cwd, arg0, removeDir}},
		{nr: unix.SYS_RENAME, name: "rename", handle: (*call).rename, args: twoPaths},
		{nr: unix.SYS_RENAMEAT, name: "renameat", handle: (*call).rename, args: args{arg0, arg1, arg2, arg3, zero}},
		{nr: unix.SYS_LINK, name: "link", handle: (*call).link, args: twoPaths},
		{nr: unix.SYS_READLINK, name: "readlink", handle: (*call).readlink, args: args{cwd, arg0, arg1, arg2}},
	}
}
