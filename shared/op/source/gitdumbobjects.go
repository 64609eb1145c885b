package source

import (
	"bufio"
	"cmp"
	"compress/zlib"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	githash "github.com/go-git/go-git/v5/plumbing/hash"
	"github.com/go-git/go-git/v5/plumbing/object"
	"golang.org/x/sync/errgroup"
)

// dumbRequests is how many objects are asked for at the same time.
const dumbRequests = 8

// pull fetches the commit that is wanted with its files, and none of its
// history, except that a pack comes as a whole.
func (d *dumbServer) pull(ctx context.Context, r *repository) error {
	commit, err := d.commit(ctx, r)
	if err != nil {
		return err
	}
	var shallow []plumbing.Hash
	if commit.NumParents() > 0 {
		shallow = append(shallow, commit.Hash)
	}
	if err := r.setShallow(shallow); err != nil {
		return err
	}
	seen := map[plumbing.Hash]bool{commit.TreeHash: true}
	trees := []plumbing.Hash{commit.TreeHash}
	for len(trees) > 0 {
		if trees, err = d.level(ctx, r, trees, seen); err != nil {
			return err
		}
	}
	return nil
}

// commit fetches the commit, and the annotated tags that lead to it.
func (d *dumbServer) commit(ctx context.Context, r *repository) (*object.Commit, error) {
	h := r.target.object
	for range maxTags {
		if err := d.need(ctx, r, []plumbing.Hash{h}); err != nil {
			return nil, err
		}
		tag, err := object.GetTag(r.store, h)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			break // it is something else
		}
		if err != nil {
			return nil, fmt.Errorf("tag %s: %w", h, err)
		}
		h = tag.Target
	}
	return r.peel(r.target.object)
}

// level fetches directories and the files in them, and returns the directories
// below.
func (d *dumbServer) level(ctx context.Context, r *repository, trees []plumbing.Hash, seen map[plumbing.Hash]bool) (below []plumbing.Hash, err error) {
	if err := d.need(ctx, r, trees); err != nil {
		return nil, err
	}
	var blobs []plumbing.Hash
	for _, h := range trees {
		tree, err := object.GetTree(r.store, h)
		if err != nil {
			return nil, fmt.Errorf("tree %s: %w", h, err)
		}
		for _, e := range tree.Entries {
			if e.Mode == filemode.Submodule || seen[e.Hash] {
				continue
			}
			if seen[e.Hash] = true; len(seen) > maxEntries {
				return nil, fmt.Errorf("more than %d files", maxEntries)
			}
			if e.Mode == filemode.Dir {
				below = append(below, e.Hash)
			} else {
				blobs = append(blobs, e.Hash)
			}
		}
	}
	return below, d.need(ctx, r, blobs)
}

// need fetches the objects that are not there yet: from a pack that is known to
// have it, as a file of its own, or from one of the other packs.
func (d *dumbServer) need(ctx context.Context, r *repository, objects []plumbing.Hash) error {
	var ask []plumbing.Hash
	for _, h := range objects {
		if err := d.fromPacks(ctx, r, h, false); err != nil {
			return err
		}
		if !r.holds(h) {
			ask = append(ask, h)
		}
	}
	absent, err := d.loose(ctx, r, ask)
	if err != nil {
		return err
	}
	for _, h := range absent {
		if err := d.fromPacks(ctx, r, h, true); err != nil {
			return err
		}
		if !r.holds(h) {
			return fmt.Errorf("object %s: the server does not have it", h)
		}
	}
	return nil
}

// holds tells whether an object is there, without reading it.
func (r *repository) holds(h plumbing.Hash) bool { return r.store.HasEncodedObject(h) == nil }

// loose fetches objects that are files of their own, and returns those that are not.
func (d *dumbServer) loose(ctx context.Context, r *repository, objects []plumbing.Hash) (absent []plumbing.Hash, err error) {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(dumbRequests)
	for _, h := range objects {
		g.Go(func() error {
			id := h.String()
			name := "objects/" + id[:2] + "/" + id[2:]
			body, err := d.get(ctx, name)
			if err != nil {
				return fmt.Errorf("object %s: %w", h, err)
			}
			if body == nil {
				mu.Lock()
				defer mu.Unlock()
				absent = append(absent, h)
				return nil
			}
			err = saveLoose(body, h, filepath.Join(r.dir, name))
			return errors.Join(err, body.Close())
		})
	}
	err = g.Wait()
	slices.SortFunc(absent, func(a, b plumbing.Hash) int { return slices.Compare(a[:], b[:]) })
	return absent, err
}

// saveLoose writes an object as it came, once it is known to be what it should.
func saveLoose(body io.Reader, h plumbing.Hash, name string) (err error) {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	out, err := os.CreateTemp(dir, "tmp_obj_")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(out.Name())
		}
	}()
	in := &remembering{r: body}
	err = checkLoose(bufio.NewReader(io.TeeReader(in, out)), h)
	switch {
	case in.err != nil: // which may pass
		err = fmt.Errorf("object %s: %w", h, in.err)
	case err != nil:
		err = fmt.Errorf("object %s: %v", h, err) //nolint:errorlint // its end of file is none of the connection
	default:
		err = out.Chmod(0o444)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), name)
}

// checkLoose reads "type size<NUL>content", compressed (gitformat-loose(5)).
func checkLoose(in *bufio.Reader, want plumbing.Hash) error {
	z, err := zlib.NewReader(in)
	if err != nil {
		return err
	}
	sum := githash.New(crypto.SHA1)
	data := bufio.NewReaderSize(io.TeeReader(z, sum), 64) // the header is shorter
	head, err := data.ReadSlice(0)
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	kind, length, _ := strings.Cut(string(head[:len(head)-1]), " ")
	size, err := strconv.ParseUint(length, 10, 63)
	if err != nil || !slices.Contains([]string{"commit", "tree", "blob", "tag"}, kind) {
		return fmt.Errorf("header %q", head)
	}
	n, err := io.Copy(io.Discard, data)
	if err != nil {
		return err
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return cmp.Or(err, errors.New("something behind its end"))
	}
	got := plumbing.Hash(sum.Sum(nil))
	if got != want || uint64(n) != size {
		return fmt.Errorf("damaged: it has %d bytes and the hash %s", n, got)
	}
	return nil
}
