package sbom

import (
	"bufio"
	"bytes"
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"io"
	"net/textproto"
	"regexp"
	"runtime/debug"
	"strings"

	"github.com/strake-build/strake/shared/tree"
)

// isNPM knows the manifest of a package that was installed: one directly in a
// folder of node_modules.
func isNPM(p string, _ *tree.File) bool {
	dir, ok := strings.CutSuffix(p, "/package.json")
	if !ok {
		return false
	}
	i := strings.LastIndex("/"+dir, "/node_modules/")
	if i < 0 {
		return false
	}
	name := ("/" + dir)[i+len("/node_modules/"):]
	want := 0
	if strings.HasPrefix(name, "@") {
		want = 1
	}
	return strings.Count(name, "/") == want
}

func readNPM(f *file) ([]Package, error) {
	raw, err := f.text()
	if err != nil {
		return nil, err
	}
	var m struct {
		Name, Version string
		License       any
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, wrong("read as JSON: %w", err)
	}
	if m.Version == "" {
		return nil, nil
	}
	p := Package{Type: "npm", Name: m.Name, Version: m.Version}
	if scope, name, ok := strings.Cut(m.Name, "/"); ok {
		p.Namespace, p.Name = scope, name
	}
	switch l := m.License.(type) {
	case string:
		p.License = l
	case map[string]any:
		p.License, _ = l["type"].(string)
	}
	return []Package{p}, nil
}

// isPython knows the metadata of packages that were installed (PEP 376, and what was before it).
func isPython(p string, _ *tree.File) bool {
	return strings.HasSuffix(p, ".dist-info/METADATA") || strings.HasSuffix(p, ".egg-info/PKG-INFO") || strings.HasSuffix(p, ".egg-info")
}

// dashes are written in many ways in names of Python's (PEP 503).
var dashes = regexp.MustCompile(`[-_.]+`)

func readPython(f *file) ([]Package, error) {
	raw, err := f.text()
	if err != nil {
		return nil, err
	}
	h, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(raw))).ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) && h.Get("Name") == "" {
		return nil, wrong("read its fields: %w", err)
	}
	if h.Get("Version") == "" {
		return nil, nil
	}
	name := strings.ToLower(dashes.ReplaceAllString(h.Get("Name"), "-"))
	license, _, _ := strings.Cut(cmp.Or(h.Get("License-Expression"), h.Get("License")), "\n")
	return []Package{{Type: "pypi", Name: name, Version: h.Get("Version"), License: license}}, nil
}

// isGem knows the specifications of installed gems.
func isGem(p string, _ *tree.File) bool {
	return strings.HasSuffix(p, ".gemspec") && strings.Contains("/"+p, "/specifications/")
}

// The lines that RubyGems writes into a specification, which is a program.
var (
	gemName    = regexp.MustCompile(`(?m)^\s*s\.name\s*=\s*["']([^"']+)["']`)
	gemVersion = regexp.MustCompile(`(?m)^\s*s\.version\s*=\s*["']([^"']+)["']`)
	gemLicense = regexp.MustCompile(`(?m)^\s*s\.licenses?\s*=\s*\[?["']([^"']+)["']`)
)

func readGem(f *file) ([]Package, error) {
	raw, err := f.text()
	if err != nil {
		return nil, err
	}
	name, version := gemName.FindSubmatch(raw), gemVersion.FindSubmatch(raw)
	if name == nil || version == nil {
		return nil, wrong("it names no gem and version")
	}
	p := Package{Type: "gem", Name: string(name[1]), Version: string(version[1])}
	if l := gemLicense.FindSubmatch(raw); l != nil {
		p.License = string(l[1])
	}
	return []Package{p}, nil
}

// isProgram knows what may be a program.
func isProgram(_ string, f *tree.File) bool { return f.Inode.Mode&0o111 != 0 && f.Size > 64 }

// magics are the beginnings of programs that Go's linker writes: ELF, PE, Mach-O.
var magics = []string{"\x7fELF", "MZ", "\xcf\xfa\xed\xfe"}

// readGo reads what Go's linker leaves in programs.
func readGo(f *file) (_ []Package, err error) {
	r, _, closer, err := f.at()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closer()) }()
	var head [4]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil, err
	}
	known := false
	for _, m := range magics {
		known = known || strings.HasPrefix(string(head[:]), m)
	}
	if !known {
		return nil, nil
	}
	info, err := buildinfo.Read(r)
	if err != nil {
		return nil, nil //nolint:nilerr // it is a program of another language
	}
	out := []Package{{Type: "golang", Name: "stdlib", Version: strings.TrimPrefix(strings.Fields(info.GoVersion + " ")[0], "go")}}
	if v := info.Main.Version; info.Main.Path != "" {
		if v == "(devel)" {
			v = ""
		}
		out = append(out, module(debug.Module{Path: info.Main.Path, Version: v}))
	}
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		out = append(out, module(*d))
	}
	return out, nil
}

func module(m debug.Module) Package {
	p := Package{Type: "golang", Name: m.Path, Version: m.Version}
	if i := strings.LastIndexByte(m.Path, '/'); i >= 0 {
		p.Namespace, p.Name = m.Path[:i], m.Path[i+1:]
	}
	return p
}
