#include "textflag.h"

// func rawClone(nr, a1, a2 uintptr) uintptr
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-32
	MOVQ	nr+0(FP), AX
	MOVQ	a1+8(FP), DI
	MOVQ	a2+16(FP), SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	XORL	R9, R9
	POPQ	R12	// the child will write over it on the stack
	SYSCALL
	PUSHQ	R12
	MOVQ	AX, ret+24(FP)
	RET
