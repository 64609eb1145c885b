package fakeroot

import "golang.org/x/sys/unix"

const (
	lowWord = 0 // offset of an argument's low half
	ioW     = 0x40000000

	x32Bit = 0x40000000
)

func abis() []*abi {
	return []*abi{
		{
			audit: unix.AUDIT_ARCH_X86_64, limit: x32Bit,
			calls: append(nativeCalls(), legacyCalls()...),
		},
		{audit: unix.AUDIT_ARCH_I386, calls: i386Calls()},
	}
}
