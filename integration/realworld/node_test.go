package realworld

import (
	"strings"
	"testing"

	"github.com/strake-build/strake/integration/imagetree"
	"github.com/strake-build/strake/integration/testkit"
)

// TestNpmInstall installs packages of thousands of small files and runs one of them.
func TestNpmInstall(t *testing.T) {
	dir := testkit.Files(t, map[string]string{
		"package.json": `{"name": "demo", "version": "1.0.0", "private": true,
  "dependencies": {"lodash": "4.17.21", "date-fns": "2.30.0", "core-js": "3.37.1", "rxjs": "7.8.1"}}`,
		"index.js": `const _ = require("lodash"); const { addDays, formatISO } = require("date-fns");
console.log(_.chunk([1, 2, 3, 4], 2).length, formatISO(addDays(new Date(Date.UTC(2024, 0, 1)), 1)).slice(0, 10));`,
		"Dockerfile": `FROM node
WORKDIR /app
COPY package.json ./
RUN npm install --omit=dev --no-audit --no-fund
COPY index.js ./
USER 1000
CMD ["node", "index.js"]
`,
	})
	img := kit.MustBuild(t, testkit.Build{Context: dir, Args: testkit.ProxyArgs()})
	tree, err := imagetree.Flatten(img)
	if err != nil {
		t.Fatal(err)
	}
	var modules int
	for name := range tree {
		if strings.HasPrefix(name, "app/node_modules/") {
			modules++
		}
	}
	if modules < 5000 {
		t.Errorf("node_modules has %d files; thousands were installed", modules)
	}
	if got := testkit.Unpack(t, img).Run(t); strings.TrimSpace(got) != "2 2024-01-02" {
		t.Errorf("the program printed %q", got)
	}
}
