package source

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

// objectFile is the file of an object.
func objectFile(dir, id string) string { return filepath.Join(dir, ".git/objects", id[:2], id[2:]) }

// compress writes a loose object that says text.
func compress(t testing.TB, name, text, behind string) {
	t.Helper()
	check(t, os.Chmod(name, 0o644))
	f, err := os.Create(name)
	check(t, err)
	z := zlib.NewWriter(f)
	_, err = z.Write([]byte(text))
	check(t, errors.Join(err, z.Close()))
	_, err = f.WriteString(behind)
	check(t, errors.Join(err, f.Close()))
}

func TestDumbGitDamage(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t testing.TB, dir, readme string)
		want   string
	}{
		"missing": {func(t testing.TB, dir, readme string) { check(t, os.Remove(objectFile(dir, readme))) }, "the server does not have it"},
		"altered": {func(t testing.TB, dir, readme string) { compress(t, objectFile(dir, readme), "blob 3\x00twx", "") }, "the hash"},
		"size":    {func(t testing.TB, dir, readme string) { compress(t, objectFile(dir, readme), "blob 2\x00two", "") }, "the hash"},
		"type":    {func(t testing.TB, dir, readme string) { compress(t, objectFile(dir, readme), "blub 3\x00two", "") }, "header"},
		"header": {func(t testing.TB, dir, readme string) {
			compress(t, objectFile(dir, readme), strings.Repeat("x", 1<<20), "")
		}, "header"},
		"longer": {func(t testing.TB, dir, readme string) { compress(t, objectFile(dir, readme), "blob 3\x00two", "x") }, "behind its end"},
		"no zlib": {func(t testing.TB, dir, readme string) {
			check(t, os.Chmod(objectFile(dir, readme), 0o644))
			check(t, os.WriteFile(objectFile(dir, readme), []byte("<html>"), 0o644))
		}, "zlib"},
		"shorter": {func(t testing.TB, dir, readme string) {
			check(t, os.Chmod(objectFile(dir, readme), 0o644))
			check(t, os.Truncate(objectFile(dir, readme), 8))
		}, "unexpected EOF"},
		"pack":       {damagePack(".pack", 100), "fetch http"},
		"short pack": {damagePack(".pack", -1), "fetch http"},
		"index":      {damagePack(".idx", 5), "index"},
		"no index": {func(t testing.TB, dir, _ string) {
			git(t, dir, "gc", "-q")
			check(t, os.Remove(glob(t, dir, ".idx")))
		}, "the server does not have it"},
		"no pack": {func(t testing.TB, dir, _ string) {
			git(t, dir, "gc", "-q")
			check(t, os.Remove(glob(t, dir, ".pack")))
		}, "the server does not have it"},
		"web page": {func(t testing.TB, dir, _ string) {
			check(t, os.RemoveAll(filepath.Join(dir, ".git")))
			write(t, dir, map[string]string{".git/info/refs": "<html>\n"})
		}, "not a git repository"},
		"empty": {func(t testing.TB, dir, _ string) {
			check(t, os.RemoveAll(filepath.Join(dir, ".git")))
			write(t, dir, map[string]string{".git/info/refs": ""})
		}, "repository is empty"},
		"sha256": {func(t testing.TB, dir, _ string) {
			check(t, os.RemoveAll(filepath.Join(dir, ".git")))
			git(t, dir, "init", "-q", "-b", "main", "--object-format=sha256")
			commit(t, dir, "first")
		}, "SHA-256 repositories are not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDumb(t)
			sample(t, d.server)
			dir := filepath.Join(d.dir, "repo.git")
			c.damage(t, dir, git(t, dir, "rev-parse", "HEAD:README"))
			_, _, err := Git(t.Context(), GitRequest{Remote: d.url("repo.git"), Dir: t.TempDir()})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want %q: %v", c.want, err)
			}
			if n := d.asked("info/refs"); n != 1 {
				t.Errorf("%d attempts", n)
			}
		})
	}
}

// A name can be that of something that is no object.
func TestCheckLoose(t *testing.T) {
	for text, good := range map[string]bool{
		"blob 3\x00two": true, "blob 2\x00two": false, "blob 4\x00two": false, "blob -3\x00two": false,
		"blob\x00two": false, "ofs-delta 3\x00two": false, "blob 3": false, "": false,
	} {
		name := filepath.Join(t.TempDir(), "object")
		check(t, os.WriteFile(name, nil, 0o644))
		compress(t, name, text, "")
		data, err := os.ReadFile(name)
		check(t, err)
		err = checkLoose(bufio.NewReader(bytes.NewReader(data)), plumbing.Hash(sha1.Sum([]byte(text))))
		if good != (err == nil) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// glob finds the one file in the packs that ends so.
func glob(t testing.TB, dir, suffix string) string {
	t.Helper()
	m, err := filepath.Glob(filepath.Join(dir, ".git/objects/pack/*"+suffix))
	check(t, err)
	if len(m) != 1 {
		t.Fatalf("packs: %q", m)
	}
	check(t, os.Chmod(m[0], 0o644))
	return m[0]
}

// damagePack changes a byte, or takes the end away.
func damagePack(suffix string, at int) func(testing.TB, string, string) {
	return func(t testing.TB, dir, _ string) {
		t.Helper()
		git(t, dir, "gc", "-q")
		name := glob(t, dir, suffix)
		data, err := os.ReadFile(name)
		check(t, err)
		if at < 0 {
			data = data[:len(data)/2]
		} else {
			data[at] ^= 0x55
		}
		check(t, os.WriteFile(name, data, 0o644))
	}
}
