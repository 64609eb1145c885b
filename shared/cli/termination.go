package cli

import (
	"os"
	"strings"
	"syscall"
)

// maxTermination is how much of a message Kubernetes keeps.
const maxTermination = 4096

// TerminationMessage writes why the program failed into the file that Kubernetes
// reads when a container has ended. It is written only where it exists already
// and is a plain file.
func TerminationMessage(path, message string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil //nolint:nilerr // nobody wants it
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteString(bounded(message, maxTermination))
	return err
}

// bounded cuts a text between two characters.
func bounded(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const more = "…"
	return strings.ToValidUTF8(s[:limit-len(more)], "") + more
}
