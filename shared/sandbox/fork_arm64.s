#include "textflag.h"

// func rawClone(nr, a1, a2 uintptr) uintptr
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-32
	MOVD	nr+0(FP), R8
	MOVD	a1+8(FP), R0
	MOVD	a2+16(FP), R1
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$0, R5
	SVC
	MOVD	R0, ret+24(FP)
	RET
