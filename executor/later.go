package main

import (
	"errors"
	"fmt"
)

// laterFlags are the flags of kaniko's executor that this release does not
// have. They are known by name, so that a pipeline learns which of its flags it
// is about; none is taken and ignored.
func laterFlags() map[string]string {
	m := make(map[string]string)
	for _, name := range []string{
		"cache-dir",
	} {
		m[name] = "kaniko's flag is not in this release"
	}
	m["materialize"] = "the image's root is apart from the container's; save it with --tar-path or --oci-layout-path, and unpack it where it is wanted"
	return m
}

// argumentError says what is wrong with an argument that is no flag.
func argumentError(arg string) error {
	if arg == "bake" {
		return errors.New("executor bake: bake files are not read; run the executor once for each target, or give --target several times")
	}
	return fmt.Errorf("argument %q: no arguments are taken, only flags", arg)
}
