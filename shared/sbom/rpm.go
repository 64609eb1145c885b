package sbom

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/strake-build/strake/shared/tree"
)

// rpmDirs are where rpm keeps its database.
var rpmDirs = []string{"var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm", "var/lib/rpmmanifest"}

// isRPM knows rpm's databases: SQLite's (since Fedora 33 and RHEL 9), ndb (SUSE),
// Berkeley DB (before).
func isRPM(p string, _ *tree.File) bool {
	for _, d := range rpmDirs {
		if p == d+"/rpmdb.sqlite" || p == d+"/Packages.db" || p == d+"/Packages" {
			return true
		}
	}
	return false
}

// largestHeader is rpm's own limit (headerMaxbytes).
const largestHeader = 256 << 20

func readRPM(f *file) (_ []Package, err error) {
	r, n, closer, err := f.at()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closer()) }()
	db := &store{r: r, size: n}
	read := db.berkeley
	switch base(f.Path) {
	case "rpmdb.sqlite":
		read = db.sqlite
	case "Packages.db":
		read = db.ndb
	}
	var out []Package
	err = read(func(header []byte) error {
		p, err := rpmPackage(f, header)
		if err == nil && p.Name != "" && p.Name != "gpg-pubkey" { // a key that is trusted, and no package
			out = append(out, p)
		}
		return err
	})
	if err != nil {
		err = &contentError{err}
	}
	return out, err
}

// store is a database that is read at any place.
type store struct {
	r    io.ReaderAt
	size int64
}

// bytes reads n bytes at a place.
func (s *store) bytes(at, n int64) ([]byte, error) {
	if at < 0 || n < 0 || at > s.size || n > s.size-at {
		return nil, fmt.Errorf("%d bytes at %d: outside of the file", n, at)
	}
	b := make([]byte, n)
	if _, err := s.r.ReadAt(b, at); err != nil {
		return nil, err
	}
	return b, nil
}

// The tags of a header that are of use here (rpmtag.h), and the types of theirs.
const (
	tagName, tagVersion, tagRelease, tagEpoch = 1000, 1001, 1002, 1003
	tagLicense, tagArch, tagSource            = 1014, 1022, 1044

	typeInt32, typeString, typeI18N = 4, 6, 9
)

// rpmPackage reads a header as rpm's database has it: the number of entries and of
// bytes, the entries, the bytes.
func rpmPackage(f *file, header []byte) (Package, error) {
	if len(header) < 8 {
		return Package{}, errors.New("a header of less than 8 bytes")
	}
	entries, length := int64(binary.BigEndian.Uint32(header)), int64(binary.BigEndian.Uint32(header[4:]))
	start := 8 + 16*entries
	if start+length > int64(len(header)) {
		return Package{}, fmt.Errorf("a header of %d bytes in %d", start+length, len(header))
	}
	data := header[start : start+length]
	text := make(map[uint32]string)
	for i := range entries {
		e := header[8+16*i:]
		tag, kind, offset := binary.BigEndian.Uint32(e), binary.BigEndian.Uint32(e[4:]), int64(int32(binary.BigEndian.Uint32(e[8:])))
		if offset < 0 || offset > int64(len(data)) {
			continue // of a region's own entry it counts from the end
		}
		switch at := data[offset:]; {
		case kind == typeString || kind == typeI18N:
			s, _, _ := strings.Cut(string(at[:min(len(at), 4096)]), "\x00")
			text[tag] = s
		case kind == typeInt32 && len(at) >= 4:
			text[tag] = fmt.Sprint(binary.BigEndian.Uint32(at))
		}
	}
	version := text[tagVersion]
	if text[tagRelease] != "" {
		version += "-" + text[tagRelease]
	}
	p := f.inSystem("rpm", text[tagName], version, text[tagArch], text[tagSource])
	if e := text[tagEpoch]; e != "" && e != "0" {
		p.Qualifiers["epoch"] = e
	}
	p.License = text[tagLicense]
	return p, nil
}
