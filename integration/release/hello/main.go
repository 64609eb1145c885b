// Command hello is the program that the pipeline builds for two platforms. It also says what it runs on in a file.
package main

import (
	"os"
	"runtime"
)

func main() {
	text := "hello from " + runtime.GOARCH + "\n"
	if len(os.Args) < 2 {
		_, _ = os.Stdout.WriteString(text)
		return
	}
	if err := os.WriteFile(os.Args[1], []byte(text), 0o644); err != nil {
		println(err.Error())
		os.Exit(1)
	}
}
