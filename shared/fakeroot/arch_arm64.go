package fakeroot

import "golang.org/x/sys/unix"

const (
	lowWord = 0 // offset of an argument's low half
	ioW     = 0x40000000
)

func abis() []*abi {
	return []*abi{{audit: unix.AUDIT_ARCH_AARCH64, calls: nativeCalls()}}
}
