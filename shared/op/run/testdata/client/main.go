// Command client does what busybox cannot: it speaks to a socket, and sets extended attributes.
package main

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

func main() {
	do := ask
	if os.Args[1] == "xattr" {
		do = set
	}
	if err := do(os.Args[2:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// ask says one letter to a socket and prints the answer. With a second argument
// it stays, with the connection open.
func ask(args []string) error {
	c, err := net.Dial("unix", args[0])
	if err != nil {
		return err
	}
	if _, err := c.Write([]byte("a")); err != nil {
		return err
	}
	buf := make([]byte, 1)
	if _, err := c.Read(buf); err != nil {
		return err
	}
	if _, err := os.Stdout.Write(buf); err != nil {
		return err
	}
	if len(args) > 1 {
		time.Sleep(time.Hour)
	}
	return c.Close()
}

// set gives a file an attribute: a capability (VFS_CAP_REVISION_2, cap_net_bind_service) or a word.
func set(args []string) error {
	value := []byte("value")
	if args[1] == "security.capability" {
		value = make([]byte, 20)
		value[0], value[3], value[5] = 1, 2, 4
	}
	return syscall.Setxattr(args[0], args[1], value, 0)
}
