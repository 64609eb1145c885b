package realworld

import (
	"strings"
	"testing"

	"github.com/strake-build/strake/integration/testkit"
)

// goModule is a program with a dependency, so that building it fetches a module.
var goModule = map[string]string{
	"go.mod": "module example.org/hello\n\ngo 1.24\n\nrequire golang.org/x/text v0.40.0\n",
	"go.sum": "",
	"main.go": `package main

import (
	"fmt"
	"os"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

var version = "unset"

func main() {
	host, _ := os.Hostname()
	fmt.Println(cases.Title(language.English).String("hello from a scratch image"), version, host)
}
`,
	"Dockerfile": `FROM golang AS build
WORKDIR /src
COPY go.mod ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download golang.org/x/text
COPY . .
ARG VERSION
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/hello .

FROM scratch
COPY --from=build /out/hello /hello
ENTRYPOINT ["/hello"]
`,
}

// TestGoMultiStage compiles a module in one stage and ships the binary alone.
func TestGoMultiStage(t *testing.T) {
	dir := testkit.Files(t, goModule)
	args := append(testkit.ProxyArgs(), "--build-arg", "VERSION=1.2.3")
	img := kit.MustBuild(t, testkit.Build{Context: dir, Args: args})
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 1 {
		t.Errorf("image has %d layers; only one was copied", len(layers))
	}
	if got := testkit.Unpack(t, img).Run(t); !strings.Contains(got, "Hello From A Scratch Image 1.2.3") {
		t.Errorf("the program printed %q", got)
	}
}
