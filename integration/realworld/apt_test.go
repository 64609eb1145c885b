package realworld

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/integration/testkit"
)

// TestApt installs packages whose maintainer scripts are picky about users, locks, links and alternatives, and runs
// what they brought: a database, a Java machine, a web server.
func TestApt(t *testing.T) {
	dir := testkit.Files(t, map[string]string{"Dockerfile": `FROM debian:bookworm-slim
RUN apt-get update && \
    apt-get install -y --no-install-recommends curl git python3 nginx postgresql openjdk-17-jre-headless && \
    rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --shell /bin/bash app && dpkg --audit
`})
	img := kit.MustBuild(t, testkit.Build{Context: dir, Args: testkit.ProxyArgs()})
	c := testkit.Unpack(t, img)
	for _, check := range []struct{ run, want string }{
		{"curl --version", "curl 7"},
		{"git init -q /tmp/r && git -C /tmp/r status", "No commits yet"},
		{"python3 -c 'import ssl, sqlite3; print(6 * 7)'", "42"},
		{"java -version 2>&1", "openjdk version \"17"},
		{"nginx -t 2>&1", "syntax is ok"},
		{"dpkg --audit; echo audited", "audited"},
		{"su app -c 'id -un; echo $HOME'", "app\n/home/app"},
		{"stat -c '%U %a' /var/lib/postgresql/15/main", "postgres 700"},
	} {
		if got := c.Run(t, "sh", "-c", check.run); !strings.Contains(got, check.want) {
			t.Errorf("%s printed %q, which lacks %q", check.run, got, check.want)
		}
	}
	database := "set -e; b=/usr/lib/postgresql/15/bin; $b/initdb -D /tmp/db >/dev/null 2>&1; " +
		"$b/pg_ctl -D /tmp/db -o '-k /tmp -c listen_addresses=' -l /tmp/log -w start >/dev/null || cat /tmp/log; psql -h /tmp -d postgres -Atc 'select 6 * 7'; $b/pg_ctl -D /tmp/db -w stop >/dev/null"
	if got := c.Run(t, "su", "postgres", "-c", database); strings.TrimSpace(got) != "42" {
		t.Errorf("the database answered %q", got)
	}
}

// TestAptLeavesNothing checks that a step's surroundings do not land in the image.
func TestAptLeavesNothing(t *testing.T) {
	dir := testkit.Files(t, map[string]string{"Dockerfile": `FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends file && rm -rf /var/lib/apt/lists/*
`})
	img := kit.MustBuild(t, testkit.Build{Context: dir, Args: testkit.ProxyArgs()})
	root := filepath.Join(testkit.Unpack(t, img).Root(), "/")
	for _, name := range []string{"etc/resolv.conf", "etc/hosts", "proc/self", "sys/kernel", "dev/null", "dev/shm"} {
		if info, err := os.Lstat(filepath.Join(root, name)); err == nil && (info.IsDir() || info.Size() > 0) {
			t.Errorf("the image has /%s, of %d bytes", name, info.Size())
		}
	}
}
