#include "textflag.h"

// func rawClone(nr, a1, a2 uintptr) uintptr
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-32
	MOVV	nr+0(FP), R11
	MOVV	a1+8(FP), R4
	MOVV	a2+16(FP), R5
	MOVV	R0, R6
	MOVV	R0, R7
	MOVV	R0, R8
	MOVV	R0, R9
	SYSCALL
	MOVV	R4, ret+24(FP)
	RET
