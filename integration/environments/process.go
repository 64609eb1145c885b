package environments

import (
	"io"
	"slices"
)

// Process is what a container is started for.
type Process struct {
	// Argv is the whole command line. Where it is empty, it is the image's entry
	// point with Args behind it, as with docker run.
	Argv, Args []string
	// Env comes after the image's.
	Env   []string
	Stdin io.Reader
}

func (p Process) argv(i *Image) []string {
	if len(p.Argv) > 0 {
		return p.Argv
	}
	return slices.Concat(i.Config.Entrypoint, p.Args)
}

// Named is one of All.
func Named(name string) Environment {
	all := All()
	return all[slices.IndexFunc(all, func(e Environment) bool { return e.Name == name })]
}
