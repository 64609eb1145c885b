// Command hello is the program that the pipeline builds for two platforms.
package main

import "runtime"

func main() { println("hello from " + runtime.GOARCH) }
