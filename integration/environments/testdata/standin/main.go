// Command standin stands in for strake's programs where only the platform that they are for counts.
package main

func main() {}
