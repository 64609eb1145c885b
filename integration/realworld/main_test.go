// Package realworld builds what people build, with the packages of real distributions, and runs the results.
package realworld

import (
	"testing"

	"github.com/strake-build/strake/integration/testkit"
)

var kit *testkit.Kit

func TestMain(m *testing.M) {
	testkit.Main(m, func(k *testkit.Kit) { kit = k }, "busybox:latest", "debian:bookworm-slim", "golang:latest", "node:latest")
}
