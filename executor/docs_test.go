package main

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write docs/flags.md anew")

const flagsIntro = `# Flags and variables

Made from the program's own table by a test (` + "`go test ./executor -run TestFlagsDocument -update`" + `). A flag's state tells how it stands to kaniko's
of the same name: **kept**; **fixed**, where kaniko's does not do what it promises; **alias**, another name of a flag; **notice**, taken though not
needed, with a line of the log that says what is done instead; **new**, where kaniko has none.

Every flag is set by the command line, before its variables, before the file of settings (` + "`" + configFile + "`" + `, or ` + "`--config`" + `), before its default. Of
several variables the first that is set counts; several values stand on lines of their own. ` + "`executor config`" + ` shows what it comes to.

`

// The document of the flags is what the table says.
func TestFlagsDocument(t *testing.T) {
	const path = "../docs/flags.md"
	b := bytes.NewBufferString(flagsIntro)
	if err := program().Table(b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	if old, err := os.ReadFile(path); err != nil || !bytes.Equal(old, b.Bytes()) {
		t.Errorf("%s is not what the table says (%v): go test ./executor -run TestFlagsDocument -update", path, err)
	}
}
