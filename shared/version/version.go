// Package version says which build of the program this is.
package version

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// release is the version that the linker was told (-X); a build from source that
// was not told one goes by what the toolchain knows.
var release string

// Info describes a build of the program.
type Info struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Get reads what the Go toolchain left in the binary.
func Get() Info {
	i := Info{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if release != "" {
		i.Version = release
	}
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return i
	}
	if release == "" && b.Main.Version != "" && b.Main.Version != "(devel)" {
		i.Version = b.Main.Version
	}
	for _, s := range b.Settings {
		if s.Key == "vcs.revision" {
			i.Commit = s.Value
		}
	}
	return i
}

// Print writes the version to w, as a line or as JSON.
func Print(w io.Writer, asJSON bool) error {
	i := Get()
	if asJSON {
		return json.NewEncoder(w).Encode(i)
	}
	_, err := fmt.Fprintf(w, "strake %s (%s, %s)\n", i.Version, i.Go, i.Platform)
	return err
}
