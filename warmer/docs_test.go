package main

import (
	"flag"
	"testing"

	"github.com/strake-build/strake/shared/cli/surfacetest"
)

var update = flag.Bool("update", false, "write docs/flags-warmer.md anew")

const flagsIntro = `# Flags and variables of the warmer

Made from the program's own table by a test (` + "`go test ./warmer -run TestFlagsDocument -update`" + `). The states are those of [the executor's](flags.md); the file of
settings is ` + "`" + configFile + "`" + `, or ` + "`--config`" + `. ` + "`warmer config`" + ` shows what it comes to.

`

// The document of the flags is what the table says.
func TestFlagsDocument(t *testing.T) {
	surfacetest.Document(t, "../docs/flags-warmer.md", flagsIntro, program(), *update)
}

func TestTable(t *testing.T) {
	if err := program().Check(); err != nil {
		t.Error(err)
	}
}
