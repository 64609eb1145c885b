// Package fakeroot lets processes without privilege see themselves as root and as any user: a seccomp filter hands
// their privileged system calls to a supervisor, which records and answers them.
//
// What the disk cannot say of a file (another owner, a device, a capability) stands in a Record. The step's
// thread calls Install and then makes the process, which inherits the filter; meanwhile Supervisor.Serve answers.
// Identities (user, groups, capabilities) are kept for each thread, so that a program that gave up root sees itself as
// who it became, and what it makes belongs to that user.
//
// What is emulated is what programs see, not protection: all processes have the builder's own rights on the disk, and an
// emulated user can read what belongs to another.
package fakeroot

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ID names a file for as long as it exists. ext4 uses inode numbers again at once, the time of birth tells the files apart.
type ID struct {
	Dev, Ino uint64
	Birth    int64 // nanoseconds since 1970, 0 where the file system does not keep it
}

// IDOf reads the ID from the answer to statx(2), which was asked for STATX_INO and STATX_BTIME.
func IDOf(st *unix.Statx_t) ID {
	id := ID{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 {
		id.Birth = st.Btime.Sec*int64(time.Second) + int64(st.Btime.Nsec)
	}
	return id
}

// Attr is what the disk cannot say of a file.
type Attr struct {
	UID, GID uint32
	// Mode holds the permission bits (07777) that the file pretends to have, if HasMode is set. On the disk it
	// has those of DiskMode.
	Mode    uint32
	HasMode bool
	// Type is S_IFCHR or S_IFBLK for a device, which is an empty regular file on the disk, and 0 otherwise.
	Type uint32
	Rdev uint64 // as unix.Mkdev makes it
	// Xattrs are recorded extended attributes: those that only root may set (security.capability, trusted.*), and access control lists.
	Xattrs map[string]string
}

// plain tells that a says no more than the default: root's, with the disk's mode and type.
func (a *Attr) plain() bool {
	return a.UID == 0 && a.GID == 0 && !a.HasMode && a.Type == 0 && len(a.Xattrs) == 0
}

// DiskMode is the mode for the disk of a file that pretends to have mode: its owner, the builder, passes where
// root would. Both hold a type (S_IFDIR) and permission bits. A file on the disk without a type counts as a regular one.
func DiskMode(mode uint32) uint32 {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return mode | 0o700
	case unix.S_IFLNK:
		return mode
	}
	return mode | 0o600
}

// NeedsMode tells whether mode must be recorded: since the disk's is wider, or since the kernel takes set-user-ID and
// set-group-ID from a file that its owner writes to, which it does not do to root.
func NeedsMode(mode uint32) bool {
	special := mode&unix.S_IFMT != unix.S_IFDIR && mode&unix.S_IFMT != unix.S_IFLNK && mode&(unix.S_ISUID|unix.S_ISGID) != 0
	return special || DiskMode(mode) != mode
}

// Record holds what the disk cannot say. It has exceptions only: a file without an entry is root's if it is the
// builder's on the disk, and has its own mode and type. It is safe for use by several goroutines.
type Record struct {
	mu    sync.RWMutex
	files map[ID]Attr
}

// NewRecord makes an empty record.
func NewRecord() *Record { return &Record{files: make(map[ID]Attr)} }

// Get returns what is recorded of a file. The map in it must not be changed.
func (r *Record) Get(id ID) (Attr, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	a, ok := r.files[id]
	return a, ok
}

// Put records a, in place of what was recorded. An Attr that says no more than the default removes the entry. For
// a file that is not the builder's on the disk, whose ids are shown as they are, set HasMode to record root as owner.
func (r *Record) Put(id ID, a Attr) {
	if a.plain() {
		r.Forget(id)
		return
	}
	a.Xattrs = maps.Clone(a.Xattrs)
	a.Mode &= 0o7777
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[id] = a
}

// Forget removes what is recorded of a file, for one that is gone.
func (r *Record) Forget(id ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.files, id)
}

// Len is the number of files that have an entry.
func (r *Record) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.files)
}
