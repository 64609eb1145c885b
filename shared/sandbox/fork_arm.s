#include "textflag.h"

// func rawClone(nr, a1, a2 uintptr) uintptr
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-16
	MOVW	nr+0(FP), R7
	MOVW	a1+4(FP), R0
	MOVW	a2+8(FP), R1
	MOVW	$0, R2
	MOVW	$0, R3
	MOVW	$0, R4
	SWI	$0
	MOVW	R0, ret+12(FP)
	RET
