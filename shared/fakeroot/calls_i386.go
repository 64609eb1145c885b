//go:build amd64

package fakeroot

import "golang.org/x/sys/unix"

func i386Calls() []trap                { return nil }
func i386Stat(st *unix.Statx_t) []byte { return nil }
