package main

import (
	"errors"
	"fmt"
)

// argumentError says what is wrong with an argument that is no flag.
func argumentError(arg string) error {
	if arg == "bake" {
		return errors.New("executor bake: bake files are not read; run the executor once for each target, or give --target several times")
	}
	return fmt.Errorf("argument %q: no arguments are taken, only flags", arg)
}
