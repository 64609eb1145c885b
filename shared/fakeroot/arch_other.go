//go:build !(amd64 || arm64 || ppc64le || riscv64 || s390x)

package fakeroot

import "golang.org/x/sys/unix"

const (
	lowWord = 0
	ioW     = 0x40000000
)

// abis is nil: this architecture has no table.
func abis() []*abi { return nil }

func linkCalls() []trap { return nil }

func (c *call) readTimes(uint64, []unix.Timespec) bool { return false }
func nativeStat(*unix.Statx_t) []byte                  { return nil }
