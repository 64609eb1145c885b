package sbom

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"io"
	"regexp"
	"strings"

	"github.com/strake-build/strake/shared/tree"
)

var javaArchive = regexp.MustCompile(`(?i)\.(?:jar|war|ear|jpi|hpi)$`)

func isJava(p string, _ *tree.File) bool { return javaArchive.MatchString(p) }

// How deep archives lie in archives, and how large one in another may be.
const (
	deepest     = 3
	largestJar  = 128 << 20
	largestText = 1 << 20
)

func readJava(f *file) (_ []Package, err error) {
	r, n, closer, err := f.at()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closer()) }()
	return readJar(r, n, base(f.Path), deepest)
}

// readJar lists the packages in an archive: those that Maven's files name, or else
// the archive itself by its manifest and its name. Archives in it are looked into.
func readJar(r io.ReaderAt, size int64, name string, depth int) ([]Package, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, wrong("read %s: %w", name, err)
	}
	var out, inner []Package
	var errs []error
	for _, f := range z.File {
		switch {
		case strings.HasPrefix(f.Name, "META-INF/maven/") && strings.HasSuffix(f.Name, "/pom.properties"):
			p, err := readPom(f)
			errs = append(errs, err)
			out = append(out, p...)
		case depth > 0 && javaArchive.MatchString(f.Name):
			p, err := readInner(f, depth)
			errs = append(errs, err)
			inner = append(inner, p...)
		}
	}
	if len(out) == 0 {
		p, err := byManifest(z, name)
		errs = append(errs, err)
		out = append(out, p...)
	}
	return append(out, inner...), errors.Join(errs...)
}

func readPom(f *zip.File) ([]Package, error) {
	raw, err := unzip(f, largestText)
	if err != nil {
		return nil, err
	}
	m := make(map[string]string)
	for line := range strings.Lines(string(raw)) {
		k, v, ok := strings.Cut(line, "=")
		if ok && !strings.HasPrefix(line, "#") {
			m[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
	}
	if m["artifactId"] == "" || m["version"] == "" {
		return nil, nil
	}
	return []Package{{Type: "maven", Namespace: m["groupId"], Name: m["artifactId"], Version: m["version"]}}, nil
}

func readInner(f *zip.File, depth int) ([]Package, error) {
	raw, err := unzip(f, largestJar)
	if err != nil {
		return nil, err
	}
	return readJar(bytes.NewReader(raw), int64(len(raw)), base(f.Name), depth-1)
}

// unzip reads a file in an archive, up to a limit, whatever the archive says of it.
func unzip(f *zip.File, limit int64) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, wrong("open %s: %w", f.Name, err)
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, wrong("read %s: %w", f.Name, err)
	}
	if int64(len(raw)) > limit {
		return nil, wrong("read %s: more than the limit of %d bytes", f.Name, limit)
	}
	return raw, nil
}

// named is a file name with a version: "commons-io-2.11.0.jar".
var named = regexp.MustCompile(`^(.+?)-(\d[\w.+-]*)\.\w+$`)

func byManifest(z *zip.Reader, name string) ([]Package, error) {
	m := make(map[string]string)
	for _, f := range z.File {
		if f.Name != "META-INF/MANIFEST.MF" {
			continue
		}
		raw, err := unzip(f, largestText)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(raw)) {
			if k, v, ok := strings.Cut(line, ":"); ok {
				m[k] = strings.TrimSpace(v)
			}
		}
	}
	p := Package{Type: "maven", Version: cmp.Or(m["Implementation-Version"], m["Bundle-Version"])}
	if n := named.FindStringSubmatch(name); n != nil {
		p.Name, p.Version = n[1], n[2]
	} else {
		p.Name = javaArchive.ReplaceAllString(name, "")
	}
	if p.Version == "" {
		return nil, nil
	}
	symbolic, _, _ := strings.Cut(m["Bundle-SymbolicName"], ";")
	p.Namespace = cmp.Or(m["Implementation-Vendor-Id"], symbolic, p.Name)
	return []Package{p}, nil
}
