// Package kaniko runs the pipelines that kaniko's documents show, with their arguments, files, mounts and variables as
// they are, in containers made from our image: as root, with Docker's default capabilities and seccomp profile.
package kaniko

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/strake-build/strake/integration/environments"
	"github.com/strake-build/strake/integration/testkit"
)

var (
	kit *testkit.Kit
	bed *environments.Bed
)

func TestMain(m *testing.M) {
	testkit.Main(m, func(k *testkit.Kit) {
		kit = k
		var err error
		if bed, err = environments.NewBed(context.Background(), k); err != nil {
			fmt.Fprintln(os.Stderr, "prepare the containers:", err)
			_ = k.Close()
			os.Exit(1)
		}
	}, "busybox:latest")
}
