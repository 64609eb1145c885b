package main

import (
	"errors"
	"fmt"
)

// laterFlags are the flags of kaniko's executor that make no sense here, and
// what to do instead; none is taken and ignored.
func laterFlags() map[string]string {
	return map[string]string{
		"materialize": "the image's root is apart from the container's; save it with --tar-path or --oci-layout-path, and unpack it where it is wanted",
	}
}

// argumentError says what is wrong with an argument that is no flag.
func argumentError(arg string) error {
	if arg == "bake" {
		return errors.New("executor bake: bake files are not read; run the executor once for each target, or give --target several times")
	}
	return fmt.Errorf("argument %q: no arguments are taken, only flags", arg)
}
