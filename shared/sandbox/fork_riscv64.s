#include "textflag.h"

// func rawClone(nr, a1, a2 uintptr) uintptr
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-32
	MOV	nr+0(FP), A7
	MOV	a1+8(FP), A0
	MOV	a2+16(FP), A1
	MOV	ZERO, A2
	MOV	ZERO, A3
	MOV	ZERO, A4
	MOV	ZERO, A5
	ECALL
	MOV	A0, ret+24(FP)
	RET
