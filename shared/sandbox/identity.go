package sandbox

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Identity says who a step's processes are: Real or Emulated.
type Identity interface {
	// become writes down how the child becomes who it is to be. It is still
	// root in its root filesystem then, and only exec follows.
	become(pr *program, p *Process) error
	// supervise is called on the thread that makes the child, just before. It
	// returns nil where the kernel answers for the identity itself.
	supervise(ctx context.Context, p *Process) (*supervision, error)
	// copied is told of files that were copied; nil where the disk says all.
	copied() func(from, to *unix.Statx_t)
	// emulated tells which kind it is.
	emulated() bool
}

// Real is the identity that the kernel knows: ids and capabilities of its own.
func Real() Identity { return real{} }

type real struct{}

func (real) emulated() bool { return false }

func (real) copied() func(from, to *unix.Statx_t) { return nil }

func (real) supervise(context.Context, *Process) (*supervision, error) { return nil, nil }

// kept are Docker's default capabilities, which image builds are written for.
var kept = [...]uint{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FSETID, unix.CAP_FOWNER, unix.CAP_MKNOD, unix.CAP_NET_RAW, unix.CAP_SETGID,
	unix.CAP_SETUID, unix.CAP_SETFCAP, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT, unix.CAP_KILL, unix.CAP_AUDIT_WRITE,
}

// caps is a set of capabilities.
type caps uint64

func (c caps) has(n uint) bool { return c>>n&1 != 0 }

func keptCaps() caps {
	var c caps
	for _, n := range kept {
		c |= 1 << n
	}
	return c
}

// ownCaps reads the calling thread's permitted and bounding sets.
func ownCaps() (permitted, bounding caps, err error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, 0, fmt.Errorf("read capabilities: %w", err)
	}
	for n := range uint(64) {
		in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		if err != nil { // past the last capability of this kernel
			break
		}
		bounding |= caps(in) << n
	}
	return caps(data[0].Permitted) | caps(data[1].Permitted)<<32, bounding, nil
}

func (real) become(pr *program, p *Process) error {
	permitted, bounding, err := ownCaps()
	if err != nil {
		return err
	}
	dropBounding(pr, bounding)
	pr.try([]syscall.Errno{unix.EINVAL}, "clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL)
	if err := setIDs(pr, p); err != nil {
		return err
	}
	// Going from root to another user the kernel has cleared them already; root
	// keeps Docker's, none inheritable (CVE-2022-27651).
	final := permitted & keptCaps()
	if p.UID != 0 {
		final = 0
	}
	capset(pr, final)
	return nil
}

// dropBounding takes from what can ever be had again.
func dropBounding(pr *program, bounding caps) {
	for n := range uint(64) {
		if bounding.has(n) && !keptCaps().has(n) {
			pr.add("drop a capability", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(n))
		}
	}
}

func capset(pr *program, final caps) {
	hdr := hold(pr, &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3})
	lo, hi := uint32(final), uint32(final>>32)
	data := hold(pr, &[2]unix.CapUserData{{Effective: lo, Permitted: lo}, {Effective: hi, Permitted: hi}})
	pr.add("set capabilities", unix.SYS_CAPSET, hdr, data)
}

// setIDs sets groups, group and user, in the order in which that is allowed.
func setIDs(pr *program, p *Process) error {
	if setgroupsDenied() {
		// A user namespace of one id (user_namespaces(7)): root is all there is.
		if p.UID != 0 || p.GID != 0 {
			return fmt.Errorf("run as %d:%d in a user namespace that has one id: %w (give the builder's user a range in /etc/subuid and /etc/subgid)", p.UID, p.GID, ErrUnsupported)
		}
		return nil
	}
	groups := slices.Clone(p.Groups)
	var list uintptr
	if len(groups) > 0 {
		list = uintptr(unsafe.Pointer(&groups[0]))
		pr.keep = append(pr.keep, groups)
	}
	pr.add(fmt.Sprintf("set groups %v", p.Groups), sysSetgroups, uintptr(len(groups)), list)
	gid, uid := uintptr(p.GID), uintptr(p.UID)
	pr.add(fmt.Sprintf("set group %d", p.GID), sysSetresgid, gid, gid, gid)
	pr.add(fmt.Sprintf("set user %d", p.UID), sysSetresuid, uid, uid, uid)
	return nil
}

func setgroupsDenied() bool {
	b, err := os.ReadFile("/proc/self/setgroups")
	return err == nil && strings.TrimSpace(string(b)) == "deny"
}
