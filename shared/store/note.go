package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxNote is how long a note may be: tables of contents are the longest.
const maxNote = 1 << 30

// PutNote keeps something that was worked out about a blob, in place of what was
// there by that kind. It goes away with the blob. A kind is a word of letters,
// digits and dashes.
func (s *Store) PutNote(d v1.Hash, kind string, content []byte) error {
	name, err := noteName(d, kind)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	return s.replace(name, append(sum[:], content...))
}

// Note gives what PutNote kept. What is not there is fs.ErrNotExist, as is what
// is damaged: it can be worked out again.
func (s *Store) Note(d v1.Hash, kind string) ([]byte, error) {
	name, err := noteName(d, kind)
	if err != nil {
		return nil, err
	}
	b, err := readSmall(s.path(name), maxNote)
	if err != nil {
		return nil, err
	}
	if len(b) >= sha256.Size {
		if sum := sha256.Sum256(b[sha256.Size:]); bytes.Equal(sum[:], b[:sha256.Size]) {
			return b[sha256.Size:], nil
		}
	}
	return nil, fmt.Errorf("%s of blob %s is damaged: %w", kind, d, fs.ErrNotExist)
}

func noteName(d v1.Hash, kind string) (string, error) {
	if err := checkDigest(d); err != nil {
		return "", err
	}
	if err := checkKind(kind); err != nil {
		return "", err
	}
	return filepath.Join("notes", d.Algorithm, d.Hex, kind), nil
}

func checkKind(kind string) error {
	ok := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' }
	if kind == "" || strings.IndexFunc(kind, func(r rune) bool { return !ok(r) }) >= 0 {
		return fmt.Errorf("kind %q: not a word of a-z, 0-9 and dashes", kind)
	}
	return nil
}

func (s *Store) dropNotes(d v1.Hash) error {
	if s.readOnly {
		return ErrReadOnly
	}
	name := filepath.Join("notes", d.Algorithm, d.Hex)
	if err := s.fault("remove", name); err != nil {
		return err
	}
	if err := os.RemoveAll(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
