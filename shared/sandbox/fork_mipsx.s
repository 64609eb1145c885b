//go:build mips || mipsle

#include "textflag.h"

// func rawClone(nr, a1, a2 uintptr) uintptr
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-16
	MOVW	nr+0(FP), R2
	MOVW	a1+4(FP), R4
	MOVW	a2+8(FP), R5
	MOVW	R0, R6
	MOVW	R0, R7
	SYSCALL
	BEQ	R7, ok	// R7 says that R2 is an errno
	SUBU	R2, R0, R2
ok:
	MOVW	R2, ret+12(FP)
	RET
