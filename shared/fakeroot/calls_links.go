//go:build amd64 || arm64 || ppc64le || riscv64 || s390x

package fakeroot

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// linkCalls are those that are handed over only where there are Links.
func linkCalls() []trap {
	return append([]trap{
		{nr: unix.SYS_UNLINKAT, name: "unlinkat", handle: (*call).unlink, args: asIs},
		{nr: unix.SYS_RENAMEAT2, name: "renameat2", handle: (*call).rename, args: asIs},
		{nr: unix.SYS_LINKAT, name: "linkat", handle: (*call).link, args: asIs},
		{nr: unix.SYS_UTIMENSAT, name: "utimensat", handle: (*call).utimes, args: asIs},
		{nr: unix.SYS_READLINKAT, name: "readlinkat", handle: (*call).readlink, args: asIs},
		{nr: unix.SYS_GETCWD, name: "getcwd", handle: (*call).getcwd, args: asIs},
	}, legacyLinkCalls()...)
}

// readTimes reads two struct timespec of a 64-bit process.
func (c *call) readTimes(addr uint64, times []unix.Timespec) bool {
	var b [32]byte
	if c.read(addr, b[:]) != len(b) {
		return false
	}
	for i := range times {
		times[i] = unix.Timespec{Sec: int64(binary.NativeEndian.Uint64(b[16*i:])), Nsec: int64(binary.NativeEndian.Uint64(b[16*i+8:]))}
	}
	return true
}
