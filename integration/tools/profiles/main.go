// Command profiles prints a runtime's default seccomp profile. It reads a container's configuration from standard input,
// for the profiles depend on the capabilities in it.
//
//	profiles docker|containerd <config.json
//
// It is a module of its own, since containerd's profile comes with the whole of containerd.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	containerd "github.com/containerd/containerd/v2/contrib/seccomp"
	moby "github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "profiles:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var spec specs.Spec
	if err := json.NewDecoder(os.Stdin).Decode(&spec); err != nil {
		return fmt.Errorf("read the container's configuration: %w", err)
	}
	var profile *specs.LinuxSeccomp
	var err error
	switch {
	case len(args) == 1 && args[0] == "docker":
		profile, err = moby.GetDefaultProfile(&spec)
	case len(args) == 1 && args[0] == "containerd":
		profile = containerd.DefaultProfile(&spec)
	default:
		err = fmt.Errorf("%q: docker or containerd is wanted", args)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(profile)
}
