package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// workload is one build that is measured.
type workload struct {
	name  string
	about string
	write func(dir string) error
	// before is set where a rebuild is measured: it changes the context after a first build.
	before func(dir string) error
	// remote is a rebuild by a builder whose only memory is a cache in the registry,
	// which answers after latency.
	remote  bool
	latency time.Duration
}

func workloads() []workload {
	return []workload{
		{name: "run1", about: "one RUN on Debian", write: files(map[string]string{"Dockerfile": steps(1)})},
		{name: "run20", about: "20 small RUNs on Debian", write: files(map[string]string{"Dockerfile": steps(20)})},
		{name: "apt", about: "apt-get install of curl, git, python3", write: files(map[string]string{"Dockerfile": apt})},
		{name: "npm", about: "npm install, tens of thousands of files", write: files(npm)},
		{name: "go", about: "Go program, built in one stage, shipped in another", write: files(goProgram)},
		{name: "files", about: "COPY of 50,000 small files", write: manyFiles},
		{name: "big", about: "COPY of 1 GiB", write: bigFile},
		{name: "stages", about: "four independent stages", write: files(map[string]string{"Dockerfile": stages})},
		{name: "noop", about: "the npm build again, nothing changed", write: files(npm), before: nothing},
		{name: "change", about: "the npm build again, one source file changed", write: files(npm), before: changeSource},
		{name: "remote", about: "12 steps from the registry's cache, nothing changed", write: files(manySteps), before: nothing, remote: true},
		{name: "remote20", about: "the same, 20 ms to the registry", write: files(manySteps), before: nothing, remote: true, latency: 20 * time.Millisecond},
		{name: "remotelast", about: "the last of them changed, 20 ms to the registry", write: files(manySteps), before: changeLast, remote: true, latency: 20 * time.Millisecond},
	}
}

func nothing(string) error { return nil }

var manySteps = map[string]string{
	"one": "one\n", "two": "two\n", "last": "last\n",
	"Dockerfile": `FROM busybox AS one
WORKDIR /one
COPY one .
RUN cat one >a
RUN cat a a >b
FROM busybox AS two
COPY two /
RUN cat two >/c
FROM busybox
WORKDIR /w
COPY --from=one /one/b /b
COPY --from=two /c /c
RUN cat /b /c >d
COPY last .
RUN cat last >e
`,
}

// changeLast makes the file another that the last two steps use.
func changeLast(dir string) error {
	return os.WriteFile(filepath.Join(dir, "last"), fmt.Appendln(nil, time.Now().UnixNano()), 0o644)
}

func steps(n int) string {
	var b strings.Builder
	b.WriteString("FROM debian:bookworm-slim\n")
	for i := range n {
		fmt.Fprintf(&b, "RUN echo %d > /step-%d\n", i, i)
	}
	return b.String()
}

const apt = `FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends curl git python3 && rm -rf /var/lib/apt/lists/*
`

var npm = map[string]string{
	"package.json": `{"name": "bench", "version": "1.0.0", "private": true, "dependencies": {
  "@mui/icons-material": "5.15.0", "@mui/material": "5.15.0", "react": "18.2.0", "react-dom": "18.2.0",
  "@emotion/react": "11.11.0", "@emotion/styled": "11.11.0", "core-js": "3.37.1", "date-fns": "2.30.0",
  "lodash": "4.17.21", "rxjs": "7.8.1", "typescript": "5.4.5"}}`,
	"index.js": "console.log(require('lodash').VERSION)\n",
	"Dockerfile": `FROM node
WORKDIR /app
COPY package.json ./
RUN npm install --omit=dev --no-audit --no-fund
COPY index.js ./
RUN node index.js > built.txt
CMD ["node", "index.js"]
`,
}

var goProgram = map[string]string{
	"go.mod": "module example.org/bench\n\ngo 1.24\n\nrequire github.com/google/go-containerregistry v0.22.1\n",
	"main.go": `package main

import (
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/crane"
)

func main() {
	digest, err := crane.Digest(os.Args[1])
	fmt.Println(digest, err)
}
`,
	"Dockerfile": `FROM golang AS build
WORKDIR /src
COPY go.mod ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -mod=mod -trimpath -o /out/app .

FROM scratch
COPY --from=build /out/app /app
ENTRYPOINT ["/app"]
`,
}

const stages = `FROM busybox AS a
RUN sleep 3; seq 1 300000 | sha256sum > /a
FROM busybox AS b
RUN sleep 3; seq 1 300001 | sha256sum > /b
FROM busybox AS c
RUN sleep 3; seq 1 300002 | sha256sum > /c
FROM busybox AS d
RUN sleep 3; seq 1 300003 | sha256sum > /d
FROM busybox
COPY --from=a /a /
COPY --from=b /b /
COPY --from=c /c /
COPY --from=d /d /
`

func files(content map[string]string) func(dir string) error {
	return func(dir string) error {
		for name, text := range content {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				return err
			}
		}
		return nil
	}
}

const copyAll = "FROM busybox\nCOPY data /data\n"

// manyFiles are about a kilobyte each, half of it text that compresses, as source files are.
func manyFiles(dir string) error {
	random := rand.NewChaCha8([32]byte{1})
	half := make([]byte, 512)
	for i := range 50_000 {
		folder := filepath.Join(dir, "data", strconv.Itoa(i/1000), strconv.Itoa(i/100%10))
		if i%100 == 0 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
		}
		_, _ = random.Read(half) // never fails
		text := strings.Repeat("line of text\n", i%80) + string(half)
		if err := os.WriteFile(filepath.Join(folder, strconv.Itoa(i)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(copyAll), 0o644)
}

// bigFile is 1 GiB, half random bytes and half words, as a program with its data is.
func bigFile(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "data", "big"))
	if err != nil {
		return err
	}
	random := rand.NewChaCha8([32]byte{2})
	block := make([]byte, 1<<20)
	for range 1024 {
		_, _ = random.Read(block[:len(block)/2])
		words(random, block[len(block)/2:])
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(copyAll), 0o644)
}

// words fills b with words in random order: they compress about as well as a program's text does.
func words(random *rand.ChaCha8, b []byte) {
	vocabulary := strings.Fields("func return err nil string int byte error context layer image config digest registry " +
		"path mode owner step stage copy from build run the of and to a in that is was for with on")
	for len(b) > 0 {
		n := copy(b, vocabulary[random.Uint64()%uint64(len(vocabulary))]+" ")
		b = b[n:]
	}
}

// changeSource writes what no build has seen yet.
func changeSource(dir string) error {
	text := fmt.Sprintf("console.log(require('lodash').VERSION, %d)\n", time.Now().UnixNano())
	return os.WriteFile(filepath.Join(dir, "index.js"), []byte(text), 0o644)
}
