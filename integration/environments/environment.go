// Package environments makes the kinds of containers that builds have to run in, from the profiles, capabilities and
// mounts that Docker and Kubernetes really give, and says of each what strake is expected to do there.
package environments

import "slices"

// Environment is one kind of container.
type Environment struct {
	// Name is how documents call it.
	Name string
	// What says it in a user's words.
	What string

	UID           uint32
	Caps          []string // effective and permitted
	Bounding      []string // nil: the same as Caps
	NoNewPrivs    bool
	Profile       Profile
	UserNamespace bool // Kubernetes' hostUsers: false
	Unmasked      bool // the whole of /proc and /sys
	Devices       bool // every device may be made and used
	// KeepsRoot tells whether the runtime gives / the mode that the image says. CRI-O and podman do; containerd and
	// Docker ignore an image's entry for / and make it root's, 0755.
	KeepsRoot bool
	// Init tells that files which the runtime mounts over are put into the root first, as Docker does, links to their
	// directories replaced.
	Init bool
	// Volume is mounted at /builder, for the builder's own directory. Without it all that is writable is the overlay
	// that is the container's root.
	Volume bool

	// Official is expected of the official image, Foreign of a Debian that somebody put the executor into.
	Official, Foreign Expectation
}

// Profile names a runtime's default seccomp profile.
type Profile string

// The profiles there are.
const (
	Unconfined Profile = ""
	Docker     Profile = "docker"
	Containerd Profile = "containerd" // Kubernetes' RuntimeDefault, with containerd and (nearly the same) CRI-O
)

// Expectation is how RUN steps work. The zero value: not at all, and the executor says so before anything is done.
type Expectation struct {
	View     string // overlay, bind, inplace or chroot
	Identity string // real or emulated
	// Not says that the environment has no such container.
	Not bool
}

// Refused tells whether a step can run.
func (e Expectation) Refused() bool { return e.View == "" }

var (
	overlay  = Expectation{View: "overlay", Identity: "real"}
	inplace  = Expectation{View: "inplace", Identity: "real"}
	chroot   = Expectation{View: "chroot", Identity: "real"}
	emulated = Expectation{View: "inplace", Identity: "emulated"}
	oneID    = Expectation{View: "bind", Identity: "emulated"}
	refused  = Expectation{}
	none     = Expectation{Not: true}
)

// All lists the environments in the order of the documents.
func All() []Environment {
	docker := defaultCapabilities()
	admin := append(slices.Clone(docker), "CAP_SYS_ADMIN")
	restricted := Environment{
		Name: "E4", What: "Kubernetes, UID 1000, PSS restricted; CRI-O",
		UID: 1000, NoNewPrivs: true, Profile: Containerd, KeepsRoot: true,
		Official: emulated, Foreign: refused,
	}
	return []Environment{
		{Name: "E1", What: "Docker's defaults", Caps: docker, Profile: Docker, Init: true, Official: inplace, Foreign: chroot},
		{
			Name: "E1b", What: "Kubernetes, root, RuntimeDefault, no_new_privs",
			Caps: docker, Profile: Containerd, NoNewPrivs: true, Official: inplace, Foreign: chroot,
		},
		{Name: "E2", What: "Kubernetes, root, seccomp Unconfined", Caps: docker, NoNewPrivs: true, Volume: true, Official: overlay, Foreign: overlay},
		{Name: "E2b", What: "Docker with SYS_ADMIN", Caps: admin, Profile: Docker, Init: true, Volume: true, Official: overlay, Foreign: overlay},
		{
			Name: "E3", What: "Kubernetes, user namespace, seccomp Unconfined",
			Caps: docker, UserNamespace: true, Volume: true, Official: overlay, Foreign: overlay,
		},
		{
			Name: "E3b", What: "Kubernetes, user namespace, RuntimeDefault",
			Caps: docker, UserNamespace: true, Profile: Containerd, Official: inplace, Foreign: refused,
		},
		{
			Name: "E3c", What: "Kubernetes, user namespace, SYS_ADMIN, seccomp Unconfined",
			Caps: admin, UserNamespace: true, Volume: true, Official: overlay, Foreign: overlay,
		},
		{
			Name: "E3d", What: "Kubernetes, user namespace, SYS_ADMIN, RuntimeDefault",
			Caps: admin, UserNamespace: true, Profile: Containerd, Volume: true, Official: overlay, Foreign: overlay,
		},
		restricted,
		{
			Name: "E4c", What: "Kubernetes, UID 1000, PSS restricted; containerd",
			UID: 1000, NoNewPrivs: true, Profile: Containerd, Official: emulated, Foreign: refused,
		},
		{
			Name: "E5", What: "Kubernetes, UID 1000, no capabilities, seccomp Unconfined",
			UID: 1000, NoNewPrivs: true, Volume: true, Official: oneID, Foreign: oneID,
		},
		{
			Name: "E5c", What: "Kubernetes, UID 1000, subordinate ids, seccomp Unconfined",
			UID: 1000, Bounding: docker, Volume: true, Official: oneID, Foreign: overlay,
		},
		{
			Name: "E6", What: "privileged container, or root of a machine",
			Caps: allCapabilities(), Unmasked: true, Devices: true, Volume: true, Official: overlay, Foreign: overlay,
		},
		{
			Name: "E7", What: "user of a machine, with subordinate ids",
			UID: 1000, Bounding: allCapabilities(), Unmasked: true, Devices: true, Volume: true, Official: none, Foreign: overlay,
		},
	}
}
