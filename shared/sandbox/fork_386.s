#include "textflag.h"

// func rawClone(nr, a1, a2 uintptr) uintptr
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-16
	MOVL	nr+0(FP), AX
	MOVL	a1+4(FP), BX
	MOVL	a2+8(FP), CX
	XORL	DX, DX
	XORL	DI, DI
	POPL	SI	// the child will write over it on the stack
	INT	$0x80
	PUSHL	SI
	MOVL	AX, ret+12(FP)
	RET
