// Package commands runs the executor as users and scripts do and looks at what it leaves: codes, streams, files, tags,
// processes.
package commands

import (
	"testing"

	"github.com/strake-build/strake/integration/testkit"
)

var kit *testkit.Kit

func TestMain(m *testing.M) {
	testkit.Main(m, func(k *testkit.Kit) { kit = k }, "busybox:latest", "busybox:docker", "multiarch:latest")
}

// run runs the executor and fails the test only if it could not be started.
func run(t *testing.T, b testkit.Build) testkit.Result {
	t.Helper()
	res, err := kit.Run(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return res
}
