#include "textflag.h"

// func rawClone(nr, a1, a2 uintptr) uintptr
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-32
	MOVD	nr+0(FP), R1
	MOVD	a1+8(FP), R2
	MOVD	a2+16(FP), R3
	MOVD	$0, R4
	MOVD	$0, R5
	MOVD	$0, R6
	MOVD	$0, R7
	SYSCALL
	MOVD	R2, ret+24(FP)
	RET
