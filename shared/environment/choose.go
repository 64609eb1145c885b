package environment

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/strake-build/strake/shared/sandbox"
)

// Views and Identities are what a user may ask for.
func Views() []string { return []string{"auto", Overlay, Bind, InPlace, Chroot} }

// Identities are what a user may ask for.
func Identities() []string { return []string{"auto", Real, Emulated} }

// Choose picks the best choice of a view and an identity, each by name or
// "auto". reason is for the user. The error wraps sandbox.ErrUnsupported where
// none works, and says why.
func (r *Report) Choose(view, identity string) (c *Choice, reason string, err error) {
	var why []string
	for i := range r.Choices {
		c := &r.Choices[i]
		if view != "auto" && view != c.View || identity != "auto" && identity != c.Identity {
			continue
		}
		if c.Err == nil {
			return c, strings.Join(append(why, c.String()+" works here"), "; "), nil
		}
		why = append(why, fmt.Sprintf("%s: %v", c, c.Err))
	}
	if !slices.Contains(Views(), view) {
		return nil, "", fmt.Errorf("isolation %q: there are %s", view, strings.Join(Views(), ", "))
	}
	if !slices.Contains(Identities(), identity) {
		return nil, "", fmt.Errorf("identity %q: there are %s", identity, strings.Join(Identities(), ", "))
	}
	if len(why) == 0 {
		return nil, "", fmt.Errorf("isolation %s with identity %s: %w: there is no such combination", view, identity, sandbox.ErrUnsupported)
	}
	return nil, "", fmt.Errorf("RUN steps cannot be isolated here: %w: %s", sandbox.ErrUnsupported, strings.Join(why, "; "))
}

// String is the view and the identity.
func (c *Choice) String() string { return c.View + " with " + c.Identity + " ids" }

// Lost says what steps cannot have that they would have elsewhere.
func (c *Choice) Lost() []string {
	var lost []string
	if c.Memory > 0 {
		lost = append(lost, fmt.Sprintf("layers and what steps write take memory, %d MiB at most", c.Memory>>20))
	}
	switch c.View {
	case Bind:
		lost = append(lost, "every stage is unpacked by itself, and its changes are found by looking at all its files")
	case InPlace:
		lost = append(lost,
			"RUN --network=none and RUN --add-host are refused",
			"read-only mounts can be written by a step",
			"a step has the builder's host name, /proc and processes, and can read what is mounted in the builder's container",
			"one step runs at a time")
	case Chroot:
		lost = append(lost,
			"a step has no /proc and no /sys",
			"RUN --network=none is refused",
			"read-only mounts can be written by a step, and root can leave its root directory")
	}
	if c.Identity == Emulated {
		lost = append(lost, "a step that became another user can still read and write root's files", "system calls about files and ids take longer")
		if port := firstPort(); port > 1 {
			lost = append(lost, fmt.Sprintf("a step cannot listen on ports below %d", port))
		}
	}
	return lost
}

// firstPort is the first that a process without CAP_NET_BIND_SERVICE may listen on
// (Documentation/networking/ip-sysctl.rst, ip_unprivileged_port_start). Most
// runtimes set it to 0 in a container with a network of its own.
func firstPort() int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return 0 // the kernel is older than the setting, or hides it
	}
	port, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return port
}
