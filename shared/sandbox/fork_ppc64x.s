//go:build ppc64 || ppc64le

#include "textflag.h"

// func rawClone(nr, a1, a2 uintptr) uintptr
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-32
	MOVD	nr+0(FP), R9
	MOVD	a1+8(FP), R3
	MOVD	a2+16(FP), R4
	MOVD	R0, R5
	MOVD	R0, R6
	MOVD	R0, R7
	MOVD	R0, R8
	SYSCALL	R9
	BVC	ok	// the overflow bit says that R3 is an errno
	NEG	R3, R3
ok:
	MOVD	R3, ret+24(FP)
	RET
