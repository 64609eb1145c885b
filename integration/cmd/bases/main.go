// Command bases makes the base images of the tests and says where they are.
//
//	bases [-dir DIR] [image:tag ...]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/strake-build/strake/integration/bases"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bases:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir, err := bases.DefaultDir()
	if err != nil {
		return err
	}
	flag.StringVar(&dir, "dir", dir, "keep the images in this directory")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: bases [-dir DIR] [image:tag ...]\n\nimages: %s\n\n", strings.Join(bases.Names(), " "))
		flag.PrintDefaults()
	}
	flag.Parse()
	if _, err := bases.Ensure(ctx, dir, os.Stderr, flag.Args()...); err != nil {
		return err
	}
	fmt.Println(dir)
	return nil
}
