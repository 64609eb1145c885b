package sbom

import (
	"bufio"
	"bytes"
	"errors"
	"strings"

	"github.com/strake-build/strake/shared/tree"
)

func asContent(err error, target **contentError) bool { return errors.As(err, target) }

// isDpkg knows dpkg's database, and the files that distroless images have in its stead.
func isDpkg(p string, _ *tree.File) bool {
	return p == "var/lib/dpkg/status" || under(p, "var/lib/dpkg/status.d") && !strings.HasSuffix(p, ".md5sums") || p == "usr/lib/opkg/status"
}

// readDpkg reads paragraphs of fields (deb822(5)).
func readDpkg(f *file) ([]Package, error) {
	raw, err := f.text()
	if err != nil {
		return nil, err
	}
	var out []Package
	for _, p := range paragraphs(raw) {
		// An entry without a state is one of distroless', or of opkg's.
		if s := strings.Fields(p["Status"]); len(s) == 3 && s[2] != "installed" {
			continue
		}
		if p["Package"] == "" || p["Version"] == "" {
			continue
		}
		upstream, _, _ := strings.Cut(p["Source"], " ")
		out = append(out, f.inSystem("deb", p["Package"], p["Version"], p["Architecture"], upstream))
	}
	return out, nil
}

// paragraphs reads fields, of each its first line.
func paragraphs(raw []byte) (out []map[string]string) {
	now := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, largest)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.TrimSpace(line) == "":
			if len(now) > 0 {
				out, now = append(out, now), map[string]string{}
			}
		case line[0] == ' ' || line[0] == '\t':
		default:
			if k, v, ok := strings.Cut(line, ":"); ok {
				now[k] = strings.TrimSpace(v)
			}
		}
	}
	if len(now) > 0 {
		out = append(out, now)
	}
	return out
}

func isApk(p string, _ *tree.File) bool {
	return p == "lib/apk/db/installed" || p == "usr/lib/apk/db/installed"
}

// readApk reads apk's database: paragraphs whose fields have one letter.
func readApk(f *file) ([]Package, error) {
	raw, err := f.text()
	if err != nil {
		return nil, err
	}
	var out []Package
	for _, p := range paragraphs(raw) {
		if p["P"] == "" || p["V"] == "" {
			continue
		}
		upstream := p["o"]
		if upstream == p["P"] {
			upstream = ""
		}
		x := f.inSystem("apk", p["P"], p["V"], p["A"], upstream)
		x.License = p["L"]
		out = append(out, x)
	}
	return out, nil
}
