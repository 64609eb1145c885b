package fakeroot

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// decide carries a filter out, as the kernel does.
func decide(t *testing.T, code []unix.SockFilter, nr int64, arch uint32, args ...uint64) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.NativeEndian.PutUint32(data, uint32(nr))
	binary.NativeEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.NativeEndian.PutUint64(data[16+8*i:], a)
	}
	var acc uint32
	for pc := 0; pc < len(code); pc++ {
		in := code[pc]
		yes := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.NativeEndian.Uint32(data[in.K:])
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			yes = acc == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			yes = acc >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			yes = acc&in.K != 0
		default:
			t.Fatalf("instruction %x", in.Code)
		}
		if yes {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatal("the filter does not end")
	return 0
}

func TestFilter(t *testing.T) {
	t.Parallel()
	list := abis()
	if list == nil {
		t.Skip("no table for this architecture")
	}
	code := assemble(list)
	if len(code) > 4096 {
		t.Fatalf("%d instructions", len(code))
	}
	own := list[0].audit
	none := uint64(1<<64 - 100)
	const allow, notify, enosys = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_USER_NOTIF, unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	for _, c := range []struct {
		what string
		nr   int64
		arch uint32
		args []uint64
		want uint32
	}{
		{"read", unix.SYS_READ, own, nil, allow},
		{"getuid", unix.SYS_GETUID, own, nil, notify},
		{"openat for reading", unix.SYS_OPENAT, own, []uint64{none, 1, unix.O_RDONLY | unix.O_CLOEXEC}, allow},
		{"openat O_DIRECTORY", unix.SYS_OPENAT, own, []uint64{none, 1, unix.O_DIRECTORY}, allow},
		{"openat O_CREAT", unix.SYS_OPENAT, own, []uint64{none, 1, unix.O_CREAT | unix.O_WRONLY}, notify},
		{"openat O_TMPFILE", unix.SYS_OPENAT, own, []uint64{none, 1, unix.O_TMPFILE | unix.O_RDWR}, notify},
		{"prctl PR_SET_NAME", unix.SYS_PRCTL, own, []uint64{unix.PR_SET_NAME}, allow},
		{"prctl PR_SET_DUMPABLE", unix.SYS_PRCTL, own, []uint64{unix.PR_SET_DUMPABLE}, notify},
		{"umask 022", unix.SYS_UMASK, own, []uint64{0o022}, allow},
		{"umask 0277", unix.SYS_UMASK, own, []uint64{0o277}, notify},
		{"setxattrat", 463, own, nil, notify},
		{"io_uring_setup", 425, own, nil, enosys},
		{"another architecture", unix.SYS_READ, unix.AUDIT_ARCH_M68K, nil, notify},
	} {
		if got := decide(t, code, c.nr, c.arch, c.args...); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.what, got, c.want)
		}
	}
	if runtime.GOARCH == "amd64" {
		if got := decide(t, code, x32ForTest|unix.SYS_READ, own); got != enosys {
			t.Errorf("x32: %#x", got)
		}
		if got := decide(t, code, 199, unix.AUDIT_ARCH_I386); got != notify {
			t.Errorf("getuid32 of i386: %#x", got)
		}
		if got := decide(t, code, 3, unix.AUDIT_ARCH_I386); got != allow {
			t.Errorf("read of i386: %#x", got)
		}
	}
}

const x32ForTest = 0x40000000

// TestTables checks that no number is there twice, and the numbers of i386 against the kernel's header.
func TestTables(t *testing.T) {
	t.Parallel()
	for _, b := range abis() {
		seen := map[uint32]string{}
		for _, k := range b.calls {
			if other, twice := seen[k.nr]; twice {
				t.Errorf("%x: %d is %s and %s", b.audit, k.nr, other, k.name)
			}
			seen[k.nr] = k.name
		}
		if b.audit == unix.AUDIT_ARCH_I386 {
			checkHeader(t, "/usr/include/x86_64-linux-gnu/asm/unistd_32.h", b)
		}
		if b.audit == unix.AUDIT_ARCH_X86_64 {
			checkHeader(t, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", b)
		}
	}
}

func checkHeader(t *testing.T, name string, b *abi) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Log("not checked:", err)
		return
	}
	defer f.Close()
	numbers := map[string]uint32{}
	for s := bufio.NewScanner(f); s.Scan(); {
		var what string
		var nr uint32
		if n, _ := fmt.Sscanf(s.Text(), "#define __NR_%s %d", &what, &nr); n == 2 {
			numbers[what] = nr
		}
	}
	for _, k := range b.calls {
		if nr, ok := numbers[k.name]; ok && nr != k.nr {
			t.Errorf("%s is %d, in %s it is %d", k.name, k.nr, name, nr)
		} else if !ok && k.nr < nrSetxattrat && k.nr != nrFchmodat2 {
			t.Errorf("%s is not in %s", k.name, name)
		}
	}
}

// TestShortIDs reads and writes 16-bit ids in our own memory.
func TestShortIDs(t *testing.T) {
	t.Parallel()
	if narrow(100000) != 65534 || narrow(65535) != 65535 || widen(0xffff) != none || widen(0x10005) != 5 {
		t.Error("ids of 16 bits")
	}
	mem := []uint16{1, 2, 0xffff, 4}
	c := call{trap: &trap{ids16: true}, s: &service{}, n: &notification{pid: uint32(os.Getpid())}}
	got, ok := c.readIDs(uint64(uintptr(unsafe.Pointer(&mem[0]))), 3)
	if !ok || len(got) != 3 || got[1] != 2 || got[2] != none {
		t.Error(got, ok)
	}
	runtime.KeepAlive(mem)
}
