package main

import (
	"flag"
	"testing"

	"github.com/strake-build/strake/shared/cli/surfacetest"
)

var update = flag.Bool("update", false, "write docs/flags-manifest.md anew")

const flagsIntro = `# Flags and variables of manifest

Made from the program's own table by a test (` + "`go test ./manifest -run TestFlagsDocument -update`" + `). Every flag is set by the command line, before its variables,
before the file of settings (` + "`" + configFile + "`" + `, or ` + "`--config`" + `), before its default; several values of a variable stand on lines of their own.
` + "`manifest config create`" + ` shows what it comes to for a command. A key of the file is a flag's name, with the command's before it where its variable has
that: ` + "`create-target`" + `.

`

// The document of the flags is what the table says.
func TestFlagsDocument(t *testing.T) {
	p, _ := (&command{}).makeProgram()
	surfacetest.Document(t, "../docs/flags-manifest.md", flagsIntro, p, *update)
}
