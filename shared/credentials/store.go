package credentials

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Store writes user and secret for a registry into a docker config.json, as
// docker login does: what else stands in the file stays, and Docker Hub gets
// the key that all programs know. The file is replaced in one step and can be
// read by its owner only (0600). A file or directory that is a symbolic link is
// refused, as are files of another user: in a directory that others can write
// to, somebody may have put it there.
//
// A registry that the file names a credential helper for is refused too, as
// its entry would never be looked at.
func Store(path, host, user, secret string) error {
	sc := parseScope(host)
	switch {
	case sc.host == "":
		return fmt.Errorf("store a credential: %q is not the host of a registry", host)
	case user == "" || strings.Contains(user, ":"):
		return errors.New("store a credential: a user name is not empty and has no colon")
	case secret == "":
		return errors.New("store a credential: the password is empty")
	}
	if err := store(path, sc, user, secret); err != nil {
		return fmt.Errorf("store the credential for %s in %s: %w", sc, path, err)
	}
	return nil
}

func store(path string, sc scope, user, secret string) error {
	dir, err := openOwn(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	base := filepath.Base(path)
	old, err := readOwn(dir, base)
	if err != nil {
		return err
	}
	text, err := withLogin(old, sc, user, secret)
	if err != nil {
		return err
	}
	return replace(dir, base, text)
}

// openOwn opens the directory, made when it is missing, without following a link at its end.
func openOwn(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link, which is not followed; name the directory itself", path)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// readOwn reads the old file, if there is one, and refuses what is no plain file of ours.
func readOwn(dir *os.File, base string) ([]byte, error) {
	fd, err := unix.Openat(int(dir.Fd()), base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, nil
	case errors.Is(err, unix.ELOOP):
		return nil, errors.New("it is a symbolic link, which is not followed; name the file itself")
	case err != nil:
		return nil, err
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !fi.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case ok && int(st.Uid) != os.Geteuid():
		return nil, fmt.Errorf("it belongs to user %d", st.Uid)
	}
	return io.ReadAll(io.LimitReader(f, longestFile))
}

// withLogin changes the entry and keeps the rest, keys unknown to us included.
func withLogin(old []byte, sc scope, user, secret string) ([]byte, error) {
	file := make(map[string]json.RawMessage)
	auths := make(map[string]json.RawMessage)
	if len(bytes.TrimSpace(old)) > 0 {
		if err := json.Unmarshal(old, &file); err != nil {
			return nil, fmt.Errorf("it is not a docker config.json: %w", withoutText(err))
		}
		var c configFile
		if err := json.Unmarshal(old, &c); err != nil {
			return nil, fmt.Errorf("it is not a docker config.json: %w", withoutText(err))
		}
		for key, helper := range c.CredHelpers {
			if parseScope(key) == sc {
				return nil, fmt.Errorf("it names the credential helper %q for this registry, which goes first; take that out, or log in by it", helper)
			}
		}
		if raw, ok := file["auths"]; ok {
			if err := json.Unmarshal(raw, &auths); err != nil {
				return nil, fmt.Errorf("it is not a docker config.json: %w", withoutText(err))
			}
		}
	}
	if file == nil { // the file says null, or its auths do
		file = make(map[string]json.RawMessage)
	}
	if auths == nil {
		auths = make(map[string]json.RawMessage)
	}
	// Other spellings of the same registry would be found as well.
	for key := range auths {
		if parseScope(key) == sc {
			delete(auths, key)
		}
	}
	entry, err := json.Marshal(map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))})
	if err != nil {
		return nil, err
	}
	auths[addressOf(sc.String())] = entry
	if file["auths"], err = json.Marshal(auths); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(file, "", "\t")
	return append(text, '\n'), err
}

// replace writes aside and renames, so that nobody ever reads half a file.
func replace(dir *os.File, base string, text []byte) (err error) {
	aside := fmt.Sprintf(".%s.%s", base, rand.Text())
	fd, err := unix.Openat(int(dir.Fd()), aside, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), aside)
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(int(dir.Fd()), aside, 0)
		}
	}()
	_, werr := f.Write(text)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := unix.Renameat(int(dir.Fd()), aside, int(dir.Fd()), base); err != nil {
		return err
	}
	return dir.Sync()
}
