package sbom_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rpmdb "github.com/knqyf263/go-rpmdb/pkg"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/sbom"
	"github.com/strake-build/strake/shared/tree"
)

// image makes an image of one layer of files; programs are those below bin.
func image(files map[string]string) *tree.View {
	t := layer.NewTable()
	for p, content := range files {
		mode := uint32(0o644)
		if strings.HasPrefix(p, "bin/") {
			mode = 0o755
		}
		t.Make(p).Inode = &layer.Inode{Kind: layer.Regular, Mode: mode, Size: int64(len(content)), Content: layer.Bytes(content)}
	}
	return tree.NewView(t.Seal())
}

// urls scans an image of files.
func urls(t *testing.T, files map[string]string) ([]string, *sbom.Found) {
	t.Helper()
	found, err := sbom.Scan(t.Context(), image(files))
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, p := range found.Packages {
		out = append(out, p.URL())
	}
	return out, found
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	for _, g := range got {
		if !slices.Contains(want, g) {
			t.Errorf("not wanted: %s", g)
		}
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("missing: %s", w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d in place of %d", len(got), len(want))
	}
}

const debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n"

func TestDpkg(t *testing.T) {
	got, found := urls(t, map[string]string{
		"usr/lib/os-release": debian,
		"var/lib/dpkg/status": `Package: adduser
Status: install ok installed
Architecture: all
Version: 3.134
Description: add
 Version: 9 is a line of the text

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: libc6
Status: install ok installed
Source: glibc (2.36-9)
Architecture: amd64
Version: 1:2.36-9+deb12u4
`,
		"var/lib/dpkg/status.d/tzdata":         "Package: tzdata\nVersion: 2024a\nArchitecture: all\n",
		"var/lib/dpkg/status.d/tzdata.md5sums": "Package: no\nVersion: 1\n",
		"var/lib/dpkg/status-old":              "Package: old\nVersion: 1\n",
	})
	equal(t, got,
		"pkg:deb/debian/adduser@3.134?arch=all&distro=debian-12",
		"pkg:deb/debian/libc6@1:2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc",
		"pkg:deb/debian/tzdata@2024a?arch=all&distro=debian-12",
	)
	if found.System.Name != "Debian GNU/Linux 12 (bookworm)" || len(found.Notices) > 0 {
		t.Errorf("%+v", found)
	}
}

func TestApk(t *testing.T) {
	got, found := urls(t, map[string]string{
		"etc/os-release":       "ID=alpine\nVERSION_ID=3.20.1\n",
		"lib/apk/db/installed": "C:Q1\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:ld\n\nP:libcrypto3\nV:3.3.1-r0\nA:x86_64\nL:Apache-2.0\no:openssl\n",
	})
	equal(t, got,
		"pkg:apk/alpine/libcrypto3@3.3.1-r0?arch=x86_64&distro=alpine-3.20.1&upstream=openssl",
		"pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.1",
	)
	if found.Packages[1].License != "MIT" {
		t.Errorf("%+v", found.Packages[1])
	}
}

func TestLanguages(t *testing.T) {
	got, _ := urls(t, map[string]string{
		"app/node_modules/left-pad/package.json":                       `{"name":"left-pad","version":"1.3.0","license":{"type":"WTFPL"}}`,
		"app/node_modules/@types/node/package.json":                    `{"name":"@types/node","version":"20.1.0","license":"MIT"}`,
		"app/node_modules/left-pad/test/package.json":                  `{"name":"inner","version":"1"}`,
		"app/package.json":                                             `{"name":"the-app","version":"1"}`,
		"usr/lib/python3/dist-packages/Foo_Bar-2.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 2.0\nLicense: BSD\n\nText with Name: x\n",
		"usr/lib/python3/dist-packages/old.egg-info":                   "Metadata-Version: 1.1\nName: old\nVersion: 0.1\n",
		"usr/lib/ruby/gems/specifications/rake.gemspec":                "Gem::Specification.new do |s|\n  s.name = \"rake\".freeze\n  s.version = \"13.0.6\"\n  s.licenses = [\"MIT\".freeze]\nend\n",
		"src/rake.gemspec":                                             "s.name = \"source\"\ns.version = \"1\"",
	})
	equal(t, got,
		"pkg:gem/rake@13.0.6",
		"pkg:npm/%40types/node@20.1.0",
		"pkg:npm/left-pad@1.3.0",
		"pkg:pypi/foo-bar@2.0",
		"pkg:pypi/old@0.1",
	)
}

func jar(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, content := range files {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestJava(t *testing.T) {
	inner := jar(t, map[string]string{"META-INF/maven/org.inner/lib/pom.properties": "#x\ngroupId=org.inner\nartifactId=lib\nversion=2\n"})
	plain := jar(t, map[string]string{"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\nImplementation-Vendor-Id: org.vendor\n"})
	got, found := urls(t, map[string]string{
		"app/app.jar": jar(t, map[string]string{
			"META-INF/maven/org.example/app/pom.properties": "groupId = org.example\nartifactId = app\nversion = 1.0\n",
			"BOOT-INF/lib/lib-2.jar":                        inner,
			"BOOT-INF/lib/commons-io-2.11.0.jar":            plain,
		}),
		"app/broken.jar": "no zip at all",
	})
	equal(t, got, "pkg:maven/org.example/app@1.0", "pkg:maven/org.inner/lib@2", "pkg:maven/org.vendor/commons-io@2.11.0")
	if len(found.Notices) != 1 || !strings.HasPrefix(found.Notices[0], "/app/broken.jar: ") {
		t.Errorf("notices %q", found.Notices)
	}
}

func TestGo(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/program").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	self := must(os.ReadFile(program))
	got, _ := urls(t, map[string]string{"bin/tool": string(self), "bin/other": "\x7fELF" + strings.Repeat("x", 100), "bin/script": "#!/bin/sh\n" + strings.Repeat("#", 100), "lib/tool": string(self)})
	for _, want := range []string{"pkg:golang/stdlib@", "pkg:golang/github.com/package-url/packageurl-go@v"} {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("no %s in %q", want, got)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// databases are those that go-rpmdb tests itself with.
func databases(t testing.TB) string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/knqyf263/go-rpmdb").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(dir)), "pkg", "testdata")
}

func TestRPMAsGoRPMDB(t *testing.T) {
	for name, db := range map[string]string{"centos5-plain": "Packages", "centos7-plain": "Packages", "ubi8-s390x": "Packages", "sle15-bci": "Packages.db", "libuuid": "Packages"} {
		file := filepath.Join(databases(t), name, db)
		want := peer(t, file)
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, found := urls(t, map[string]string{"var/lib/rpm/" + db: string(raw)})
		for i, p := range found.Packages {
			got[i] = p.Name + " " + p.Qualifiers["epoch"] + " " + p.Version + " " + p.Qualifiers["arch"] + " " + p.Qualifiers["upstream"] + " " + p.License
		}
		slices.Sort(got)
		if len(want) == 0 || len(found.Notices) > 0 {
			t.Errorf("%s: %d packages, notices %q", name, len(want), found.Notices)
		}
		equal(t, got, want...)
	}
}

// peer reads a database with go-rpmdb.
func peer(t *testing.T, file string) (out []string) {
	t.Helper()
	db, err := rpmdb.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	list, err := db.ListPackages()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		epoch := ""
		if p.EpochNum() != 0 {
			epoch = string(must(json.Marshal(p.EpochNum())))
		}
		if p.Name != "gpg-pubkey" {
			out = append(out, p.Name+" "+epoch+" "+p.Version+"-"+p.Release+" "+p.Arch+" "+p.SourceRpm+" "+p.License)
		}
	}
	slices.Sort(out)
	return out
}

// TestRPMSQLite counts what go-rpmdb's own tests say is in these databases.
func TestRPMSQLite(t *testing.T) {
	for name, want := range map[string]struct {
		packages int
		one      string
	}{
		"fedora35":        {137, "pkg:rpm/fedora/bash@5.1.8-2.fc35?arch=x86_64&distro=fedora-35&upstream=bash-5.1.8-2.fc35.src.rpm"},
		"cbl-mariner-2.0": {129, ""},
	} {
		raw, err := os.ReadFile(filepath.Join(databases(t), name, "rpmdb.sqlite"))
		if err != nil {
			t.Fatal(err)
		}
		got, found := urls(t, map[string]string{"etc/os-release": "ID=fedora\nVERSION_ID=35\n", "usr/lib/sysimage/rpm/rpmdb.sqlite": string(raw)})
		if len(got) != want.packages || len(found.Notices) > 0 || want.one != "" && !slices.Contains(got, want.one) {
			t.Errorf("%s: %d packages, notices %q", name, len(got), found.Notices)
		}
	}
}

// TestBrokenDatabases cuts off and spoils databases everywhere: that is told of, and no panic.
func TestBrokenDatabases(t *testing.T) {
	for name, db := range map[string]string{"libuuid": "Packages", "sle15-bci": "Packages.db", "fedora35": "rpmdb.sqlite"} {
		raw, err := os.ReadFile(filepath.Join(databases(t), name, db))
		if err != nil {
			t.Fatal(err)
		}
		raw = raw[:min(len(raw), 256<<10)]
		for n := 0; n < len(raw); n += len(raw)/97 + 1 {
			urls(t, map[string]string{"var/lib/rpm/" + db: string(raw[:n])})
			spoiled := slices.Clone(raw)
			for i := n; i < min(n+16, len(raw)); i++ {
				spoiled[i] ^= 0xff
			}
			urls(t, map[string]string{"var/lib/rpm/" + db: string(spoiled)})
		}
		if _, found := urls(t, map[string]string{"var/lib/rpm/" + db: string(raw[:200])}); len(found.Notices) != 1 {
			t.Errorf("%s: notices %q", name, found.Notices)
		}
	}
}
