package buildcontext

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/registry"
)

// oci is a context in a registry: an artifact as ORAS and Flux push it, or an
// image, whose root file system is the context then.
type oci struct {
	ref    string
	limits Limits
}

func newOCI(ref string, o Options) (Source, error) {
	if err := registry.CheckReference(ref); err != nil {
		return nil, fmt.Errorf("context oci://%s: %w", ref, err)
	}
	return &oci{ref: ref, limits: o.Limits}, nil
}

// Fetch implements Source.
func (o *oci) Fetch(ctx context.Context, m Means) (*Context, error) {
	if m.Registry == nil {
		return nil, errors.New("context oci://" + o.ref + ": there is no registry client")
	}
	a, err := m.Registry.Artifact(ctx, o.ref)
	if err != nil {
		return nil, err
	}
	spool, err := newSpool(m.Dir)
	if err != nil {
		return nil, err
	}
	var tables []*layer.Table
	for i, f := range a.Files {
		t, err := o.file(ctx, a, f, spool)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("layer %d of %s: %w", i+1, o.ref, err), spool.Close())
		}
		tables = append(tables, t)
	}
	if len(tables) == 0 {
		return nil, errors.Join(&ArchiveError{"oci://" + o.ref, errEmpty}, spool.Close())
	}
	t := layer.Squash(tables...)
	unmark(t.Root)
	return &Context{
		Table: t.Seal(), Origin: fmt.Sprintf("oci://%s (%s)", o.ref, a.Digest), URI: "oci://" + o.ref, Digest: map[string]string{a.Digest.Algorithm: a.Digest.Hex},
	}, nil
}

// unmark takes the marks of changesets away: there is nothing below.
func unmark(n *layer.Node) {
	n.Opaque = false
	for _, c := range n.Children() {
		if c.Whiteout {
			n.Delete(c.Name)
			continue
		}
		unmark(c)
	}
}

// The annotation by which ORAS marks a directory that it packed.
const orasUnpack = "io.deis.oras.content.unpack"

// file makes a table of one layer: an archive, or a file that its title names.
func (o *oci) file(ctx context.Context, a *registry.Artifact, f registry.File, spool *os.File) (*layer.Table, error) {
	in, err := f.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if title, is := titled(a, f); is {
		return oneTitled(in, title, f.Descriptor.Size, spool, o.limits.withDefaults())
	}
	got := &arrived{r: in, sum: digest.SHA256.Hash()}
	z, err := layer.DecompressArchive(got)
	if err != nil {
		return nil, &ArchiveError{"oci://" + o.ref, err}
	}
	defer z.Close()
	plain := &meter{r: z, in: got, limit: o.limits.withDefaults()}
	t, _, err := layer.Unpack(ctx, plain, "", layer.UnpackOptions{Archive: !a.IsImage, Spool: spool, Limits: plain.limit.Limits})
	if err == nil && !a.IsImage {
		err = plain.ended()
	}
	if err == nil {
		err = got.rest()
	}
	if got.err != nil {
		return nil, got.err
	}
	if err != nil {
		return nil, &ArchiveError{"oci://" + o.ref, err}
	}
	return t, nil
}

// titled tells whether a layer is a file of its own, and what that is called.
// An archive that is all there is is the context, as it is anywhere else.
func titled(a *registry.Artifact, f registry.File) (title string, ok bool) {
	notes := f.Descriptor.Annotations
	if title = notes[ocispecs.AnnotationTitle]; title == "" || a.IsImage || notes[orasUnpack] == "true" {
		return "", false
	}
	return title, len(a.Files) > 1 || !archiveName.MatchString(title)
}

var archiveName = regexp.MustCompile(`\.(tar|tgz|txz|tbz2?|tzst|tar\.[a-z0-9]+)$`)

// oneTitled is a table of one file, which may be in folders.
func oneTitled(in io.Reader, title string, size int64, spool *os.File, l Limits) (*layer.Table, error) {
	p := path.Clean(title)
	if path.IsAbs(p) || p == "." || p == ".." || strings.HasPrefix(p, "../") || strings.ContainsRune(p, 0) {
		return nil, fmt.Errorf("%w: title %q leads out", layer.ErrMalformed, title)
	}
	if l.Bytes > 0 && size > l.Bytes {
		return nil, &layer.LimitError{What: "bytes of files", Max: l.Bytes}
	}
	t := layer.NewTable()
	dir, base := path.Split(p)
	ino := &layer.Inode{Kind: layer.Regular, Mode: 0o644, ModTime: time.Unix(0, 0), Size: size}
	t.Make(dir).Set(&layer.Node{Name: base, Inode: ino})
	ino.Content = once{in}
	if err := layer.Capture(t.Seal(), spool); err != nil {
		return nil, err
	}
	return t, nil
}

// once is a content that can be read a single time.
type once struct{ r io.Reader }

// Open implements layer.Content.
func (o once) Open() (io.ReadCloser, error) { return io.NopCloser(o.r), nil }
