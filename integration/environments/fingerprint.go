package environments

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Fingerprint tells everything about the files below dir but when they were read: a line each, by name.
func Fingerprint(dir string, skip ...string) (map[string]string, error) {
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		for _, s := range skip {
			if rel == s {
				return filepath.SkipDir
			}
		}
		found[rel], err = fingerprint(name)
		return err
	})
	return found, err
}

func fingerprint(name string) (string, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(name, &st); err != nil {
		return "", err
	}
	line := fmt.Sprintf("%o %d:%d %d %d %d.%09d", st.Mode, st.Uid, st.Gid, st.Nlink, st.Rdev, st.Mtim.Sec, st.Mtim.Nsec)
	xattrs, err := xattrsOf(name)
	if err != nil {
		return "", err
	}
	line += xattrs
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFLNK:
		to, err := os.Readlink(name)
		return line + " -> " + to, err
	case syscall.S_IFREG:
		sum, err := contentOf(name)
		return line + " " + sum, err
	}
	return line, nil
}

func xattrsOf(name string) (string, error) {
	list := make([]byte, 4096)
	n, err := unix.Llistxattr(name, list)
	if err != nil {
		return "", fmt.Errorf("list the attributes of %s: %w", name, err)
	}
	var out strings.Builder
	for key := range strings.SplitSeq(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if key == "" {
			continue
		}
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(name, key, value)
		if err != nil {
			return "", fmt.Errorf("read %s of %s: %w", key, name, err)
		}
		fmt.Fprintf(&out, " %s=%x", key, value[:n])
	}
	return out.String(), nil
}

func contentOf(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Changes lists what is different between two fingerprints.
func Changes(before, after map[string]string) []string {
	var list []string
	for name, was := range before {
		if is, ok := after[name]; !ok {
			list = append(list, "gone: "+name)
		} else if is != was {
			list = append(list, "changed: "+name+"\n\t"+was+"\n\t"+is)
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			list = append(list, "new: "+name)
		}
	}
	return list
}
