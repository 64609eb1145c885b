package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Conceal makes the memory, environment and descriptors of this process
// invisible to processes without CAP_SYS_PTRACE, steps among them
// (PR_SET_DUMPABLE). Call it after EnterUserNamespace, which needs to be seen.
func Conceal() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("conceal the process: %w", err)
	}
	return nil
}
