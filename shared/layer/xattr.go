package layer

import "strings"

// KeepXattr tells whether an extended attribute is part of a layer: file
// capabilities, the user's own, and access control lists. All else speaks about
// the machine (security.selinux, security.ima), or to it: an attribute of
// overlayfs from a stranger's layer would let it hide and redirect at will.
func KeepXattr(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.") && len(name) <= 255 &&
		name != "user." && name != "user.overlay" && !strings.HasPrefix(name, "user.overlay.")
}

// OpaqueXattr is the name of the attribute by which overlayfs marks a directory
// that hides what lies below it. Mounts made in a user namespace need the user kind.
func OpaqueXattr(user bool) string {
	if user {
		return "user.overlay.opaque"
	}
	return "trusted.overlay.opaque"
}

const maxXattr = 64 << 10 // XATTR_SIZE_MAX
