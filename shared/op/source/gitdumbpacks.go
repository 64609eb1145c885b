package source

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// dumbPack is a pack that the server has.
type dumbPack struct {
	name  string   // without ".pack"
	index *os.File // nil until it is needed
	done  bool     // fetched, or of no use
}

const maxInfoPacks = 4 << 20

var packLine = regexp.MustCompile(`(?m)^P (pack-[0-9a-f]{40})\.pack$`)

// fromPacks fetches the pack that has h. It looks into those whose index it has
// read, and into the others only if it may ask for them.
func (d *dumbServer) fromPacks(ctx context.Context, r *repository, h plumbing.Hash, ask bool) error {
	if ask && !d.listed {
		if err := d.listPacks(ctx); err != nil {
			return fmt.Errorf("objects/info/packs: %w", err)
		}
	}
	for _, p := range d.packs {
		if r.holds(h) {
			return nil
		}
		if p.done || p.index == nil && !ask {
			continue
		}
		if err := d.fromPack(ctx, r, p, h); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// listPacks reads lines as "P pack-….pack" (gitrepository-layout(5)). That
// there is no such list is as good as an empty one.
func (d *dumbServer) listPacks(ctx context.Context) error {
	body, err := d.get(ctx, "objects/info/packs")
	if err != nil {
		return err
	}
	d.listed = true
	if body == nil {
		return nil
	}
	data, err := readUpTo(body, maxInfoPacks)
	for _, m := range packLine.FindAllSubmatch(data, -1) {
		d.packs = append(d.packs, &dumbPack{name: string(m[1])})
	}
	return errors.Join(err, body.Close())
}

// fromPack fetches a pack if it has h. One that has gone since it was listed
// has nothing.
func (d *dumbServer) fromPack(ctx context.Context, r *repository, p *dumbPack, h plumbing.Hash) error {
	if p.index == nil {
		if err := d.fetchIndex(ctx, p); err != nil || p.done {
			return err
		}
	}
	has, err := indexHas(p.index, h)
	if !has || err != nil {
		return err
	}
	p.done = true
	body, err := d.get(ctx, "objects/pack/"+p.name+".pack")
	if body == nil || err != nil {
		return err
	}
	// go-git gives its objects the names that they should have by their
	// contents; the server's index is not looked at any more.
	in := &remembering{r: body}
	err = packfile.UpdateObjectStorage(r.store, in)
	switch {
	case in.err != nil: // which may pass
		err = in.err
	case err != nil:
		err = fmt.Errorf("unusable: %v", err) //nolint:errorlint // its end of file is none of the connection
	}
	return errors.Join(err, body.Close())
}

// fetchIndex puts the index of a pack into a file without a name.
func (d *dumbServer) fetchIndex(ctx context.Context, p *dumbPack) error {
	body, err := d.get(ctx, "objects/pack/"+p.name+".idx")
	if err != nil {
		return err
	}
	if body == nil {
		p.done = true
		return nil
	}
	defer body.Close()
	f, err := os.CreateTemp(d.dir, "idx-")
	if err != nil {
		return err
	}
	if err = os.Remove(f.Name()); err == nil {
		_, err = io.Copy(f, body)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	p.index = f
	return nil
}

// indexHas looks an object up in an index of a pack, version 1 or 2
// (gitformat-pack(5)): how many names begin with a byte up to this one, 256
// times, and then the sorted names.
func indexHas(f io.ReaderAt, h plumbing.Hash) (bool, error) {
	fanout, entry, offset := int64(0), int64(24), int64(4) // the names have offsets before them
	head, err := readAt(f, 0, 8)
	if err != nil {
		return false, err
	}
	if bytes.HasPrefix(head, []byte("\377tOc")) {
		if v := binary.BigEndian.Uint32(head[4:]); v != 2 {
			return false, fmt.Errorf("index of version %d", v)
		}
		fanout, entry, offset = 8, 20, 0
	}
	names := fanout + 4*256
	upTo := func(b int64) (int64, error) {
		if b < 0 {
			return 0, nil
		}
		count, err := readAt(f, fanout+4*b, 4)
		if err != nil {
			return 0, err
		}
		return int64(binary.BigEndian.Uint32(count)), nil
	}
	low, err1 := upTo(int64(h[0]) - 1)
	high, err2 := upTo(int64(h[0]))
	if err := errors.Join(err1, err2); err != nil {
		return false, err
	}
	for low < high {
		mid := (low + high) / 2
		name, err := readAt(f, names+mid*entry+offset, len(h))
		if err != nil {
			return false, err
		}
		switch c := bytes.Compare(name, h[:]); {
		case c == 0:
			return true, nil
		case c < 0:
			low = mid + 1
		default:
			high = mid
		}
	}
	return false, nil
}

func readAt(f io.ReaderAt, at int64, n int) ([]byte, error) {
	data := make([]byte, n)
	if got, err := f.ReadAt(data, at); got < n {
		return nil, fmt.Errorf("read %d bytes of the index at %d: %v", n, at, err) //nolint:errorlint // its end of file is none of the connection
	}
	return data, nil
}

// close forgets the indexes.
func (d *dumbServer) close() error {
	var err error
	for _, p := range d.packs {
		if p.index != nil {
			err = errors.Join(err, p.index.Close())
		}
	}
	return err
}
