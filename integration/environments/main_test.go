package environments

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/strake-build/strake/integration/testkit"
)

var (
	bed     *Bed
	full    = flag.Bool("full", false, "build the big Dockerfiles in every environment, and write the table of docs/environments.md")
	heavily = flag.Bool("big", false, "build the big Dockerfiles in the environments that differ most")
	cross   = flag.Bool("cross", false, "build the official images of other platforms with the real programs, and start them where qemu is; otherwise small ones stand in for them")
	only    = flag.String("only", "", "only environments with one of these names, separated by commas")
)

func TestMain(m *testing.M) {
	flag.Parse()
	images := []string{"busybox:latest", "toolbox:latest"}
	if *full || *heavily {
		images = append(images, "debian:bookworm-slim", "golang:latest")
	}
	if *full {
		images = append(images, "node:latest")
	}
	testkit.Main(m, func(k *testkit.Kit) {
		var err error
		if bed, err = NewBed(context.Background(), k); err != nil {
			fmt.Fprintln(os.Stderr, "prepare the environments:", err)
			_ = k.Close()
			os.Exit(1)
		}
	}, images...)
}
