package main

import (
	"flag"
	"testing"

	"github.com/strake-build/strake/shared/cli/surfacetest"
)

var update = flag.Bool("update", false, "write docs/flags.md anew")

const flagsIntro = `# Flags and variables of the executor

Made from the program's own table by a test (` + "`go test ./executor -run TestFlagsDocument -update`" + `). A flag's state tells how it stands to kaniko's
of the same name: **kept**; **fixed**, where kaniko's does not do what it promises; **alias**, another name of a flag; **notice**, taken though not
needed, with a line of the log that says what is done instead; **new**, where kaniko has none.

Every flag is set by the command line, before its variables, before the file of settings (` + "`" + configFile + "`" + `, or ` + "`--config`" + `), before its default. Of
several variables the first that is set counts; several values stand on lines of their own. ` + "`executor config`" + ` shows what it comes to.
The other programs: [warmer](flags-warmer.md), [manifest](flags-manifest.md).

`

// The document of the flags is what the table says.
func TestFlagsDocument(t *testing.T) {
	surfacetest.Document(t, "../docs/flags.md", flagsIntro, program(), *update)
}
