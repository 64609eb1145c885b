//go:build 386 || arm

package sandbox

import "golang.org/x/sys/unix"

// The old numbers take 16-bit ids on these.
const (
	sysSetgroups = unix.SYS_SETGROUPS32
	sysSetresgid = unix.SYS_SETRESGID32
	sysSetresuid = unix.SYS_SETRESUID32
)
