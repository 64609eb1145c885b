// Command program is a program with one dependency.
package main

import "github.com/package-url/packageurl-go"

func main() { println(packageurl.TypeDebian) }
