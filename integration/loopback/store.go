package loopback

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Store is a directory of blobs, named by digest, and of repositories, which are small files that say what a
// repository may show. Any number of processes may write to one store: a file appears whole or not at all.
//
//	blobs/sha256/<hex>          the bytes
//	repos/<name>/_links/<hex>   the repository has this blob; holds the media type if it is a manifest
//	repos/<name>/_tags/<tag>    the digest that the tag stands for
//
// A repository's name has no component that starts with an underscore, so the two folders never collide with one.
type Store struct{ dir string }

// errInvalid says that a digest, tag or repository cannot be a file's name here.
var errInvalid = errors.New("invalid name")

var (
	repoPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$`)
	tagPattern  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	hexPattern  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// OpenStore makes the store's folders in dir where they are missing.
func OpenStore(dir string) (*Store, error) {
	for _, d := range []string{"blobs/sha256", "repos", "uploads"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("open registry store: %w", err)
		}
	}
	return &Store{dir: dir}, nil
}

func checkDigest(digest string) (string, error) {
	h, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || !hexPattern.MatchString(h) {
		return "", fmt.Errorf("digest %q: %w", digest, errInvalid)
	}
	return h, nil
}

func (s *Store) blobPath(digest string) (string, error) {
	h, err := checkDigest(digest)
	if err != nil {
		return "", err
	}
	return filepath.Join(s.dir, "blobs/sha256", h), nil
}

func (s *Store) linkPath(repo, digest string) (string, error) {
	h, err := checkDigest(digest)
	if err != nil {
		return "", err
	}
	if !repoPattern.MatchString(repo) {
		return "", fmt.Errorf("repository %q: %w", repo, errInvalid)
	}
	return filepath.Join(s.dir, "repos", repo, "_links", h), nil
}

// Open returns the blob if the repository has it. The caller closes it.
func (s *Store) Open(repo, digest string) (*os.File, error) {
	link, err := s.linkPath(repo, digest)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(link); err != nil {
		return nil, err
	}
	path, err := s.blobPath(digest)
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// Link lets the repository show a blob that is in the store, and says its media type if it is a manifest.
func (s *Store) Link(repo, digest, mediaType string) error {
	path, err := s.blobPath(digest)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return err
	}
	link, err := s.linkPath(repo, digest)
	if err != nil {
		return err
	}
	return writeWhole(link, mediaType)
}

// Put takes in the bytes of a blob and refuses them when they are not what the digest names.
func (s *Store) Put(r io.Reader, digest string) error {
	u, err := s.begin()
	if err != nil {
		return err
	}
	if _, err := io.Copy(u, r); err != nil {
		return errors.Join(err, u.cancel())
	}
	return u.commit(digest)
}

// Resolve turns a tag or digest of the repository into the digest and media type of a manifest.
func (s *Store) Resolve(repo, reference string) (digest, mediaType string, err error) {
	digest = reference
	if !strings.Contains(reference, ":") {
		b, err := os.ReadFile(filepath.Join(s.dir, "repos", filepath.Clean("/"+repo), "_tags", filepath.Clean("/"+reference)))
		if err != nil {
			return "", "", err
		}
		digest = string(b)
	}
	link, err := s.linkPath(repo, digest)
	if err != nil {
		return "", "", err
	}
	b, err := os.ReadFile(link)
	if err == nil && len(b) == 0 {
		err = fs.ErrNotExist // a blob is no manifest
	}
	return digest, string(b), err
}

// Tag makes the tag stand for the manifest.
func (s *Store) Tag(repo, tag, digest string) error {
	if !tagPattern.MatchString(tag) || !repoPattern.MatchString(repo) {
		return fmt.Errorf("tag %s:%s: %w", repo, tag, errInvalid)
	}
	return writeWhole(filepath.Join(s.dir, "repos", repo, "_tags", tag), digest)
}

// Tags lists the repository's tags, sorted.
func (s *Store) Tags(repo string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "repos", filepath.Clean("/"+repo), "_tags"))
	tags := make([]string, 0, len(entries))
	for _, e := range entries {
		tags = append(tags, e.Name())
	}
	return tags, err
}

// Reset forgets every repository and blob. It is for a benchmark, between two runs.
func (s *Store) Reset() error {
	for _, d := range []string{"blobs", "repos", "uploads"} {
		if err := os.RemoveAll(filepath.Join(s.dir, d)); err != nil {
			return err
		}
	}
	_, err := OpenStore(s.dir)
	return err
}

func writeWhole(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, content)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}
