package layer

import (
	"errors"
	"fmt"
)

// ErrIntegrity is in the chain of errors about bytes that are not those a digest promised.
var ErrIntegrity = errors.New("content does not match its digest")

// ErrMalformed is in the chain of errors about layers and archives that no program should have made.
var ErrMalformed = errors.New("malformed tar")

// LimitError says that a layer or archive wants more than Limits allows.
type LimitError struct {
	What string
	Max  int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("it has more than %d %s", e.Max, e.What)
}

// Limits bound what a layer from a stranger may cost. In each field zero means
// the default and a negative number means no limit.
type Limits struct {
	// Entries in the tar; by default 4 Mi.
	Entries int64
	// Bytes of the uncompressed tar, and of all files together, holes
	// included; by default 512 GiB.
	Bytes int64
	// Metadata is the memory for names, link targets and extended attributes;
	// by default 1 GiB.
	Metadata int64
	// Path is the longest path of an entry; by default 4095 bytes, as in the
	// kernel.
	Path int64
	// Depth is how many directories an entry may be in; by default as many as
	// its path has room for.
	Depth int64
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int64
		value int64
	}{{&l.Entries, 4 << 20}, {&l.Bytes, 512 << 30}, {&l.Metadata, 1 << 30}, {&l.Path, 4095}, {&l.Depth, -1}} {
		if *f.field == 0 {
			*f.field = f.value
		}
		if *f.field < 0 {
			*f.field = 1<<63 - 1
		}
	}
	return l
}

// spend takes n from what is left of a budget.
func spend(left *int64, n int64, what string, limit int64) error {
	if n < 0 || n > *left {
		return &LimitError{What: what, Max: limit}
	}
	*left -= n
	return nil
}
