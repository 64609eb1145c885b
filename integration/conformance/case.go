// Package conformance builds Dockerfiles with strake and with BuildKit and compares the images. The cases are text
// files in testdata/cases; BuildKit's answers to them are in testdata/golden, so that only whoever adds a case needs a
// buildkitd.
package conformance

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// Case is one Dockerfile with its context, and how to build it.
type Case struct {
	Name  string
	About string
	Keys  map[string][]string
	files []txtar.File
}

// known are the keys that a case may set, and what they mean to a builder:
//
//	target, platform, file, network, hostname, shm-size   as the flags of docker build
//	arg, label, add-host, ulimit, allow, secret, ssh      the same, repeatable
//	context   NAME=DIRECTORY, or NAME=URL: a named context
//	layout    NAME=IMAGE: puts a base image into an OCI layout, and makes it the named context NAME
//	http      a folder that is served over HTTP; its address is the build argument HTTP, repositories in it speak git
//	epoch     SOURCE_DATE_EPOCH; times are then compared
//	mtimes    names below which modification times are compared
//	format, compression   of the image; media types are then compared
//	env       an environment variable of the builder's client
//	fails     the build must fail, and strake must say so in these words
var known = []string{
	"target", "platform", "file", "network", "hostname", "shm-size", "arg", "label", "add-host", "ulimit", "allow",
	"secret", "ssh", "context", "layout", "http", "epoch", "mtimes", "format", "compression", "env", "fails",
}

// ReadCases reads every case of the folder, sorted by name.
func ReadCases(dir string) ([]Case, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		return nil, err
	}
	var cases []Case
	for _, p := range paths {
		a, err := txtar.ParseFile(p)
		if err != nil {
			return nil, err
		}
		c, err := parse(strings.TrimSuffix(filepath.Base(p), ".txtar"), a)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

// parse reads the comment: lines of text that say what is proven, and after an empty line lines of "key: value".
func parse(name string, a *txtar.Archive) (Case, error) {
	about, settings, _ := strings.Cut(string(a.Comment), "\n\n")
	c := Case{Name: name, About: strings.TrimSpace(about), Keys: map[string][]string{}, files: a.Files}
	for line := range strings.Lines(settings) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok || !slices.Contains(known, key) {
			return c, fmt.Errorf("line %q sets no known key", line)
		}
		c.Keys[key] = append(c.Keys[key], strings.TrimSpace(value))
	}
	if c.About == "" || len(c.files) == 0 {
		return c, fmt.Errorf("case must say what it proves, and have files")
	}
	return c, nil
}

// One is the value of a key that is set once, or the empty string.
func (c Case) One(key string) string {
	if v := c.Keys[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// written is the time that every file of the case's context was last written at. Every case has its own, for BuildKit
// transfers only files that differ in size or time from those that it got before.
func (c Case) written() time.Time {
	h := fnv.New32a()
	h.Write([]byte(c.Name))
	return time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC).Add(time.Duration(h.Sum32()%1_000_000) * time.Second)
}

// Write lays the case's files out in dir, runs its prepare.sh there if it has one, and sets all times.
func (c Case) Write(dir string) error {
	for _, f := range c.files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			return err
		}
	}
	script := filepath.Join(dir, "prepare.sh")
	if _, err := os.Stat(script); err == nil {
		if err := prepare(dir, script); err != nil {
			return err
		}
	}
	return settle(dir, c.written())
}

func prepare(dir, script string) error {
	cmd := exec.Command("bash", "-eu", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC",
		"GIT_AUTHOR_DATE=2024-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2024-01-02T03:04:05Z", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("prepare.sh: %w\n%s", err, bytes.TrimSpace(out))
	}
	return os.Remove(script)
}

// settle sets the times of everything, links themselves included, as touch -h does.
func settle(dir string, to time.Time) error {
	cmd := exec.Command("find", dir, "-exec", "touch", "-h", "-d", to.Format(time.RFC3339), "{}", "+")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set times: %w\n%s", err, out)
	}
	return nil
}
