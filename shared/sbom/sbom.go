// Package sbom lists what is in an image, from the tables of its layers: packages of distributions and of languages.
//
// Nothing is unpacked and nothing is run. What is read was written by whoever
// made the image: databases that make no sense are told of, and passed over.
package sbom

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// Package is something that was installed.
type Package struct {
	Type      string // as package URLs have it: deb, apk, rpm, golang, npm, pypi, gem, maven
	Namespace string
	Name      string
	Version   string
	// Qualifiers are those of its package URL.
	Qualifiers map[string]string
	// License is what the package says of itself, in no fixed form.
	License string
	// Path is the file that told of it.
	Path string
}

// URL is the package URL.
func (p Package) URL() string {
	return packageurl.NewPackageURL(p.Type, p.Namespace, p.Name, p.Version, packageurl.QualifiersFromMap(p.Qualifiers), "").ToString()
}

// Found is what is in an image.
type Found struct {
	Packages []Package // in the order of their URLs and paths
	System   System
	// Notices are what could not be read, a line each.
	Notices []string
}

// reader takes packages out of files that it knows by their paths.
type reader struct {
	knows func(path string, f *tree.File) bool
	read  func(f *file) ([]Package, error)
}

// readers are asked in this order; the first that knows a file has it.
var readers = []reader{
	{isDpkg, readDpkg}, {isApk, readApk}, {isRPM, readRPM}, {isNPM, readNPM}, {isPython, readPython}, {isGem, readGem}, {isJava, readJava}, {isProgram, readGo},
}

// file is a regular file in the image.
type file struct {
	*tree.File
	system System
}

// Scan looks through an image. An error is one of reading the layers themselves.
func Scan(ctx context.Context, v *tree.View) (*Found, error) {
	s, err := system(v)
	if err != nil {
		return nil, err
	}
	found := &Found{System: s}
	err = v.Walk(v.Root(), func(f *tree.File) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if f.Kind != layer.Regular || f.Size == 0 {
			return nil
		}
		for _, r := range readers {
			if r.knows(f.Path, f) {
				return found.add(r, &file{f, s})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	found.sort()
	return found, nil
}

// add takes what a reader finds in a file. What is wrong with the file's content is no error.
func (s *Found) add(r reader, f *file) error {
	packages, err := r.read(f)
	if bad := (*contentError)(nil); err != nil && !asContent(err, &bad) {
		return fmt.Errorf("read /%s: %w", f.Path, err)
	}
	if err != nil {
		s.Notices = append(s.Notices, fmt.Sprintf("/%s: %v; it may have packages that are not listed", f.Path, err))
	}
	for _, p := range packages {
		if p.Name == "" {
			continue
		}
		p.Path = f.Path
		s.Packages = append(s.Packages, p)
	}
	return nil
}

func (s *Found) sort() {
	slices.SortFunc(s.Packages, func(a, b Package) int { return cmp.Or(cmp.Compare(a.URL(), b.URL()), cmp.Compare(a.Path, b.Path)) })
	s.Packages = slices.CompactFunc(s.Packages, func(a, b Package) bool { return a.Path == b.Path && a.URL() == b.URL() })
}

// contentError is something wrong with what an image has in it, and not with
// reading it.
type contentError struct{ err error }

func (e *contentError) Error() string { return e.err.Error() }
func (e *contentError) Unwrap() error { return e.err }

func wrong(format string, args ...any) error { return &contentError{fmt.Errorf(format, args...)} }

// largest is how long a file of text or JSON may be.
const largest = 64 << 20

// text reads the whole file.
func (f *file) text() ([]byte, error) {
	if f.Size > largest {
		return nil, wrong("%d bytes: more than the limit of %d", f.Size, largest)
	}
	return tree.ReadAll(f.Inode)
}

// at opens the file for reading at any place. What lies in a file on this
// machine is not read into memory for it.
func (f *file) at() (r io.ReaderAt, size int64, closer func() error, err error) {
	if c, ok := f.Content.(layer.FileContent); ok {
		opened, off, n, err := c.File()
		if err != nil {
			return nil, 0, nil, err
		}
		return io.NewSectionReader(opened, off, n), n, opened.Close, nil
	}
	opened, err := f.Content.Open()
	if err != nil {
		return nil, 0, nil, err
	}
	if r, ok := opened.(io.ReaderAt); ok {
		return r, f.Size, opened.Close, nil
	}
	if err := opened.Close(); err != nil {
		return nil, 0, nil, err
	}
	data, err := f.text()
	return bytes.NewReader(data), int64(len(data)), func() error { return nil }, err
}

// inSystem is a package of the distribution.
func (f *file) inSystem(kind, name, version, arch, upstream string) Package {
	q := map[string]string{"arch": arch, "upstream": upstream, "distro": f.system.distro()}
	maps.DeleteFunc(q, func(_, v string) bool { return v == "" })
	usual := map[string]string{"deb": "debian", "apk": "alpine"}[kind]
	return Package{Type: kind, Namespace: cmp.Or(f.system.ID, usual), Name: name, Version: version, Qualifiers: q}
}

// System is what os-release says.
type System struct{ ID, Version, Name string }

func (s System) distro() string {
	if s.ID == "" || s.Version == "" {
		return ""
	}
	return s.ID + "-" + s.Version
}

// system reads os-release, where there is one.
func system(v *tree.View) (s System, err error) {
	for _, p := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		f, err := v.Stat(p)
		if err != nil || f.Kind != layer.Regular {
			continue
		}
		raw, err := (&file{File: f}).text()
		if bad := (*contentError)(nil); asContent(err, &bad) {
			return s, nil
		}
		if err != nil {
			return s, fmt.Errorf("read %s: %w", p, err)
		}
		for line := range strings.Lines(string(raw)) {
			k, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			value = strings.Trim(value, `"'`)
			switch k {
			case "ID":
				s.ID = strings.ToLower(value)
			case "VERSION_ID":
				s.Version = value
			case "PRETTY_NAME":
				s.Name = value
			}
		}
		return s, nil
	}
	return s, nil
}

// under tells whether a path is in a directory, at any depth.
func under(p, dir string) bool { return strings.HasPrefix(p, dir+"/") }

func base(p string) string { return path.Base(p) }
