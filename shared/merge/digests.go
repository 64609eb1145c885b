package merge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// longestDigestFile is how large a file of digests may be. Metadata with
// provenance in it runs to megabytes.
const longestDigestFile = 16 << 20

// DigestSources reads what the jobs of a pipeline hand on: a file, or a
// directory with such files at any depth. A file may be
//
//   - empty and named by a digest: "<hex>", "sha256:<hex>" or "sha256-<hex>";
//   - lines of "sha256:…", "repository@sha256:…" or "repository:tag@sha256:…",
//     as kaniko's --digest-file, --image-name-with-digest-file and
//     --image-name-tag-with-digest-file are;
//   - buildx's or our own metadata JSON.
//
// A digest alone is looked for in repository, the target's ("host/path"). Of
// several lines with one digest, the one in that repository counts, or else in
// its registry, or else the first. A file that is none of these is an error.
func DigestSources(path, repository string) ([]Source, error) {
	var all []Source
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found, err := digestFile(p, repository)
		if err != nil {
			return &InputError{"digest file " + p, err}
		}
		all = append(all, found...)
		return nil
	})
	if err == nil && len(all) == 0 {
		err = &InputError{path, fmt.Errorf("there is no digest in it: %w", fs.ErrNotExist)}
	}
	return all, err
}

func digestFile(path, repository string) ([]Source, error) {
	b, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	text := strings.TrimPrefix(string(b), "\ufeff")
	var refs []string
	switch {
	case strings.TrimSpace(text) == "":
		refs, err = digestName(filepath.Base(path))
	case strings.HasPrefix(strings.TrimSpace(text), "{"):
		refs, err = metadataRefs([]byte(text), repository)
	default:
		refs, err = digestLines(text)
	}
	if err != nil {
		return nil, err
	}
	return pick(refs, repository, path)
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is no regular file"))
	}
	b, err := io.ReadAll(io.LimitReader(f, longestDigestFile+1))
	if len(b) > longestDigestFile {
		return nil, fmt.Errorf("it has more than %d bytes", longestDigestFile)
	}
	return b, err
}

func hexName() *regexp.Regexp { return regexp.MustCompile(`^(sha256[:-])?([0-9a-f]{64})$`) }

func digestName(base string) ([]string, error) {
	m := hexName().FindStringSubmatch(base)
	if m == nil {
		return nil, errors.New("it is empty, and its name is no digest")
	}
	return []string{"sha256:" + m[2]}, nil
}

func digestLines(text string) (refs []string, err error) {
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		_, digest, ok := strings.Cut(line, "@")
		if !ok {
			digest = line
		}
		if !hexName().MatchString(digest) || !strings.HasPrefix(digest, "sha256:") {
			return nil, fmt.Errorf("line %d is neither a digest nor REPOSITORY@DIGEST: %.80q", n+1, line)
		}
		refs = append(refs, line)
	}
	return refs, nil
}

// metadataRefs reads the JSON of buildx build, buildx imagetools and executor.
func metadataRefs(b []byte, repository string) ([]string, error) {
	var m struct {
		Digest     string `json:"containerimage.digest"`
		Descriptor struct {
			Digest string `json:"digest"`
		} `json:"containerimage.descriptor"`
		Names string `json:"image.name"`
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&m); err != nil {
		return nil, fmt.Errorf("read it as metadata JSON: %w", err)
	}
	digest := m.Digest
	if digest == "" {
		digest = m.Descriptor.Digest
	}
	if !hexName().MatchString(digest) {
		return nil, errors.New("the JSON has neither containerimage.digest nor containerimage.descriptor; for bake's metadata, hand on one file per target")
	}
	var refs []string
	for n := range strings.SplitSeq(m.Names, ",") {
		if n = strings.TrimSpace(n); n != "" {
			refs = append(refs, n+"@"+digest)
		}
	}
	if len(refs) == 0 {
		refs = []string{digest}
	}
	return refs, nil
}

// pick makes one source of each digest.
func pick(refs []string, repository, file string) ([]Source, error) {
	var order []string
	best := map[string]string{}
	for _, ref := range refs {
		repo, digest, ok := strings.Cut(ref, "@")
		if !ok {
			repo, digest = repository, ref
		}
		if repo == "" {
			return nil, fmt.Errorf("%s: a digest alone needs a target, in whose repository it is", digest)
		}
		if !slices.Contains(order, digest) {
			order, best[digest] = append(order, digest), repo
			continue
		}
		if closeness(repo, repository) > closeness(best[digest], repository) {
			best[digest] = repo
		}
	}
	var all []Source
	for _, digest := range order {
		ref := best[digest] + "@" + digest
		if _, err := name.NewDigest(ref, name.WeakValidation); err != nil {
			return nil, err
		}
		all = append(all, Source{Text: fmt.Sprintf("%s (of %s)", ref, filepath.Base(file)), Ref: ref})
	}
	return all, nil
}

// closeness says how near a repository is to another one: 2 the same, 1 the
// same registry.
func closeness(a, b string) int {
	ta, err1 := name.NewTag(a, name.WeakValidation)
	tb, err2 := name.NewTag(b, name.WeakValidation)
	switch {
	case err1 != nil || err2 != nil:
		return 0
	case ta.Context() == tb.Context():
		return 2
	case ta.RegistryStr() == tb.RegistryStr():
		return 1
	}
	return 0
}
