package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Record says what a name was, and when.
type Record struct {
	// Ref is the name in full: docker.io/library/alpine:3, or …@sha256:… for
	// what is kept by its digest.
	Ref string `json:"ref"`
	// Root is what it names: an index or a manifest.
	Root v1.Descriptor `json:"root"`
	// ResolvedAt is when a registry said so, by that machine's clock.
	ResolvedAt time.Time `json:"resolvedAt"`
	// From is the repository that said it, where maps and mirrors lead elsewhere.
	From string `json:"from,omitempty"`
	// Subject is the image that this is about, for signatures and other referrers:
	// it is kept for as long as that is.
	Subject *v1.Hash `json:"subject,omitempty"`
}

// Age is how old the record is at a time.
func (r *Record) Age(now time.Time) time.Duration { return Age(r.ResolvedAt, now) }

// Age is how old something is that was written at a time, by a clock that may be
// another than that of this machine. What is from the future has an age that no
// limit allows, since nothing is known about it.
func Age(at, now time.Time) time.Duration {
	const slack = 5 * time.Minute
	age := now.Sub(at)
	if age < -slack {
		return 1<<63 - 1
	}
	return max(age, 0)
}

// Canonical is a reference in full, with the defaults of Docker. One with tag and
// digest is named by its digest.
func Canonical(ref string) (string, error) {
	p, err := parseRef(ref)
	if err != nil {
		return "", err
	}
	return p.String(), nil
}

// refPath is a reference taken apart.
type refPath struct{ host, repo, tag, digest string }

func (p refPath) String() string {
	if p.digest != "" {
		return p.host + "/" + p.repo + "@" + p.digest
	}
	return p.host + "/" + p.repo + ":" + p.tag
}

func parseRef(ref string) (refPath, error) {
	n, err := name.ParseReference(ref, name.WeakValidation)
	if err != nil {
		return refPath{}, fmt.Errorf("reference %q: %w", ref, err)
	}
	repo := n.Context()
	p := refPath{host: repo.RegistryStr(), repo: repo.RepositoryStr()}
	if p.host == name.DefaultRegistry {
		p.host = "docker.io"
	}
	switch n := n.(type) {
	case name.Digest:
		p.digest = n.DigestStr()
		if _, err := v1.NewHash(p.digest); err != nil {
			return refPath{}, fmt.Errorf("reference %q: %w", ref, err)
		}
	default:
		p.tag = n.Identifier()
	}
	return p, p.check(ref)
}

// check lets nothing become part of a path that means something there.
func (p refPath) check(ref string) error {
	for part := range strings.SplitSeq(p.host+"/"+p.repo+"/"+p.tag, "/") {
		if part == "." || strings.HasPrefix(part, "..") || strings.ContainsAny(part, "\x00\\") {
			return fmt.Errorf("reference %q: no name to keep an image by", ref)
		}
	}
	return nil
}

// file is where the record is. Colons are no part of names on some volumes, and
// no part of a repository's name begins with "_".
func (p refPath) file() string {
	dir := filepath.Join("refs", strings.ReplaceAll(p.host, ":", "+"), filepath.FromSlash(p.repo))
	if p.digest != "" {
		return filepath.Join(dir, "_digests", strings.ReplaceAll(p.digest, ":", "-"))
	}
	return filepath.Join(dir, "_tags", p.tag)
}

// SetRef writes down what r.Ref is. Of two who do, the later one is right.
func (s *Store) SetRef(r Record) error {
	p, err := parseRef(r.Ref)
	if err != nil {
		return err
	}
	if err := checkDigest(r.Root.Digest); err != nil {
		return err
	}
	r.Ref = p.String()
	r.ResolvedAt = r.ResolvedAt.UTC()
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.replace(p.file(), b)
}

// Ref says what a name is. A name that is not there is fs.ErrNotExist, as is one
// whose record is damaged: whoever looked it up can do so again.
func (s *Store) Ref(ref string) (*Record, error) {
	p, err := parseRef(ref)
	if err != nil {
		return nil, err
	}
	r, err := s.record(p.file())
	if err != nil {
		return nil, err
	}
	if r.Ref != p.String() { // another's, on a volume that takes A for a
		return nil, fmt.Errorf("record of %s is about %s: %w", p, r.Ref, fs.ErrNotExist)
	}
	return r, nil
}

func (s *Store) record(file string) (*Record, error) {
	b, err := readSmall(s.path(file), maxSmall)
	if err != nil {
		return nil, err
	}
	var r Record
	err = json.Unmarshal(b, &r)
	if err == nil {
		err = checkDigest(r.Root.Digest)
	}
	if err != nil {
		return nil, fmt.Errorf("record %s is damaged (%v): %w", file, err, fs.ErrNotExist)
	}
	return &r, nil
}

// Refs lists the names in order. Damaged records are left out.
func (s *Store) Refs() ([]Record, error) {
	var out []Record
	err := s.eachRef(func(_ string, r *Record) error {
		if r != nil {
			out = append(out, *r)
		}
		return nil
	})
	slices.SortFunc(out, func(a, b Record) int { return strings.Compare(a.Ref, b.Ref) })
	return out, err
}

// eachRef calls fn for every record; for a damaged one with nil.
func (s *Store) eachRef(fn func(file string, r *Record) error) error {
	err := filepath.WalkDir(s.path("refs"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".nfs") {
			return err
		}
		file, err := filepath.Rel(s.dir, path)
		if err != nil {
			return err
		}
		r, err := s.record(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fn(file, nil)
		}
		return fn(file, r)
	})
	if err != nil {
		return fmt.Errorf("list the names in store %s: %w", s.dir, err)
	}
	return nil
}

// DeleteRef forgets a name. The content stays until it is collected.
func (s *Store) DeleteRef(ref string) error {
	p, err := parseRef(ref)
	if err != nil {
		return err
	}
	return s.remove(p.file())
}

// Touch writes down that an image is in use, where the store can be written.
func (s *Store) Touch(root v1.Hash) {
	if s.readOnly || checkDigest(root) != nil {
		return
	}
	name := filepath.Join("uses", root.Algorithm, root.Hex)
	now := time.Now()
	if err := os.Chtimes(s.path(name), now, now); errors.Is(err, fs.ErrNotExist) {
		_ = s.replace(name, nil) // it only seems unused for longer
	}
}
