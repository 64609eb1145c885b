package sbom_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/strake-build/strake/shared/sbom"
)

// FuzzRPM reads what is no database as each of them.
func FuzzRPM(f *testing.F) {
	names := []string{"Packages", "Packages.db", "rpmdb.sqlite"}
	for _, db := range []string{"libuuid/Packages", "sle15-bci/Packages.db", "fedora35/rpmdb.sqlite"} {
		raw, err := os.ReadFile(filepath.Join(databases(f), db))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw[:min(len(raw), 96<<10)])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, n := range names {
			if _, err := sbom.Scan(t.Context(), image(map[string]string{"var/lib/rpm/" + n: string(raw)})); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzFiles reads any text as each kind of file.
func FuzzFiles(f *testing.F) {
	for _, s := range []string{"Package: a\nVersion: 1\n", "P:a\nV:1\n", `{"name":"a","version":"1"}`, "Name: a\nVersion: 1\n\n", "s.name = 'a'\ns.version = '1'", "PK\x05\x06" + string(make([]byte, 18)), "\x7fELF" + string(make([]byte, 100))} {
		f.Add(s)
	}
	paths := []string{"var/lib/dpkg/status", "lib/apk/db/installed", "node_modules/a/package.json", "a.dist-info/METADATA", "specifications/a.gemspec", "a.jar", "bin/a", "etc/os-release"}
	f.Fuzz(func(t *testing.T, s string) {
		files := make(map[string]string)
		for _, p := range paths {
			files[p] = s
		}
		found, err := sbom.Scan(t.Context(), image(files))
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range []sbom.Format{sbom.SPDX, sbom.CycloneDX} {
			if _, err := found.Write(format, about()); err != nil {
				t.Error(err)
			}
		}
	})
}
