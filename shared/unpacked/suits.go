package unpacked

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Suits tells whether directories can be kept on a volume, or why not. It wants a
// local file system, whose times of change can be relied on and on which overlayfs
// can stand.
func Suits(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	switch uint32(st.Type) { //nolint:gosec // the kernel's constants are so
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, zfs:
		return nil
	}
	return fmt.Errorf("%s is on a file system of type %#x, not a local one that overlayfs can use", dir, uint32(st.Type)) //nolint:gosec // as above
}

const zfs = 0x2fc12fc1
