package fakeroot

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// TestI386Stat checks the places of fields against the kernel's asm/stat.h.
func TestI386Stat(t *testing.T) {
	t.Parallel()
	st := unix.Statx_t{
		Ino: 11, Mode: 12, Nlink: 13, Uid: 14, Gid: 15, Size: 16, Blksize: 17, Blocks: 18, Dev_minor: 19, Rdev_minor: 20,
		Mtime: unix.StatxTimestamp{Sec: 21, Nsec: 22},
	}
	le := binary.LittleEndian
	b := i386Stat64(&st)
	if len(b) != 96 {
		t.Fatalf("struct stat64 has %d bytes", len(b))
	}
	for offset, want := range map[int]uint32{0: 19, 12: 11, 16: 12, 20: 13, 24: 14, 28: 15, 32: 20, 44: 16, 52: 17, 56: 18, 72: 21, 76: 22, 88: 11} {
		if got := le.Uint32(b[offset:]); got != want {
			t.Errorf("stat64 at %d: %d, want %d", offset, got, want)
		}
	}
	b = i386Stat(&st)
	if len(b) != 64 {
		t.Fatalf("struct stat has %d bytes", len(b))
	}
	if le.Uint16(b[12:]) != 14 || le.Uint32(b[20:]) != 16 || le.Uint32(b[40:]) != 21 {
		t.Errorf("struct stat is %v", b)
	}
	st.Size = 1 << 31
	if i386Stat(&st) != nil {
		t.Error("a large file fits")
	}
}
